"""A bounded number of tasks under way, from a stream of inputs of any length."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeVar

from broker.errors import Refused
from dispatcher.pending import End
from dispatcher.request import Request
from protocol.errors import GlassrabbitError

#: A task that the broker refused (a full queue) is published again after so long.
REFUSED_WAIT_S = 0.5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of one input. ``id`` is empty if no task was made of it."""

    line: int
    id: str
    end: End


async def ends(
    inputs: AsyncIterator[tuple[int, T]],
    build: Callable[[T], Request],
    launch: Callable[[Request, Callable[[End], None]], None],
    window: int,
) -> AsyncIterator[Ended]:
    """Launch a request for each numbered input, at most ``window`` at a time, and yield their ends as they come.

    An input is taken only when there is room for it, so memory does not grow with their number. An input that
    ``build`` refuses ends with that error and the others are not disturbed. A slow stream of inputs does not
    hold up the ends of those that are under way.
    """
    ended: asyncio.Queue[Ended | None] = asyncio.Queue()
    room = asyncio.Semaphore(window)

    def start(line: int, request: Request) -> None:
        def on_end(end: End) -> None:
            if isinstance(end, Refused):
                asyncio.get_running_loop().call_later(REFUSED_WAIT_S, start, line, request)
            else:
                ended.put_nowait(Ended(line, request.task.id, end))

        launch(request, on_end)

    async def feed() -> None:
        await room.acquire()
        async for line, value in inputs:
            try:
                start(line, build(value))
            except GlassrabbitError as error:
                ended.put_nowait(Ended(line, "", error))
            await room.acquire()
        room.release()
        # Room for all of them again: every one has ended.
        for _ in range(window):
            await room.acquire()

    feeding = asyncio.create_task(feed())
    feeding.add_done_callback(lambda _task: ended.put_nowait(None))
    try:
        while (one := await ended.get()) is not None:
            room.release()
            yield one
        await feeding
    finally:
        feeding.cancel()
