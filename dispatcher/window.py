"""A bounded number of tasks under way, from a stream of inputs of any length."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeVar

from dispatcher.pending import End
from dispatcher.request import Request
from protocol.errors import GlassrabbitError

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
    forget: Callable[[str], None],
    window: int,
) -> AsyncGenerator[Ended, None]:
    """Launch a request for each numbered input, at most ``window`` at a time, and yield their ends as they come.

    An input is taken only when there is room for it, so memory does not grow with their number. An input that
    ``build`` refuses ends with that error and the others are not disturbed. A slow stream of inputs does not
    hold up the ends of those that are under way; if the stream fails, they still end before its error is raised.
    Whoever leaves early is told of no further end: the rest is forgotten.
    """
    ended: asyncio.Queue[Ended | None] = asyncio.Queue()
    room = asyncio.Semaphore(window)
    under_way: set[str] = set()

    def start(line: int, request: Request) -> None:
        def on_end(end: End) -> None:
            under_way.discard(request.task.id)
            ended.put_nowait(Ended(line, request.task.id, end))

        under_way.add(request.task.id)
        launch(request, on_end)

    async def feed() -> None:
        await room.acquire()
        async for line, value in inputs:
            try:
                start(line, build(value))
            except GlassrabbitError as error:
                ended.put_nowait(Ended(line, "", error))
            await room.acquire()

    feeding = asyncio.create_task(feed())
    feeding.add_done_callback(lambda _task: ended.put_nowait(None))
    try:
        while under_way or not feeding.done() or not ended.empty():
            one = await ended.get()
            if one is not None:
                room.release()
                yield one
        await feeding
    finally:
        feeding.cancel()
        for task_id in under_way:
            forget(task_id)
