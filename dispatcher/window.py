"""A bounded number of tasks under way, from a stream of arguments of any length."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from broker.errors import Refused
from dispatcher.pending import End
from dispatcher.request import Request
from protocol.codec import NotEncodable

#: A task that the broker refused (a full queue) is published again after so long.
REFUSED_WAIT_S = 0.5

Arguments = Iterable[Mapping[str, Any]] | AsyncIterator[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of one input; ``line`` counts the inputs from 1."""

    line: int
    id: str
    end: End


async def ends(
    inputs: Arguments,
    build: Callable[[Mapping[str, Any]], Request],
    launch: Callable[[Request, Callable[[End], None]], None],
    window: int,
) -> AsyncIterator[Ended]:
    """Launch a request for each input, at most ``window`` at a time, and yield their ends as they come.

    An input is taken only when there is room for it, so memory does not grow with their number.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Queue[Ended] = asyncio.Queue()
    iterator = _asynchronous(inputs)
    line, under_way, exhausted = 0, 0, False

    def start(number: int, request: Request) -> None:
        def on_end(end: End) -> None:
            if isinstance(end, Refused):
                loop.call_later(REFUSED_WAIT_S, start, number, request)
            else:
                ended.put_nowait(Ended(number, request.task.id, end))

        launch(request, on_end)

    while not exhausted or under_way:
        while not exhausted and under_way < window:
            try:
                arguments = await anext(iterator)
            except StopAsyncIteration:
                exhausted = True
                break
            line += 1
            under_way += 1
            try:
                start(line, build(arguments))
            except NotEncodable as error:
                ended.put_nowait(Ended(line, "", error))
            if not ended.empty():
                break
        if under_way:
            yield await ended.get()
            under_way -= 1


async def _asynchronous(inputs: Arguments) -> AsyncIterator[Mapping[str, Any]]:
    if isinstance(inputs, AsyncIterator):
        async for value in inputs:
            yield value
    else:
        for value in inputs:
            yield value
