"""The process that asks, told over standard input what to measure: one JSON object a line, one answer each."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from broker.console import gc_tuning as garbage
from tests.benchmarks.work import ANSWER

#: Before the first of the paced calls.
_LEAD_S = 0.02


class Requester(Protocol):
    """What every kind can do. A task that does not end well ends the process."""

    async def many(self, tasks: int, window: int) -> None:
        """Return when ``tasks`` round trips are done, at most ``window`` of them under way at a time."""

    async def one(self) -> None:
        """One round trip."""

    async def send(self) -> None:
        """Send one task that nobody waits for; return when the broker has it, if that can be known."""


async def serve(requester: Requester) -> None:
    """Answer until standard input ends. The garbage of all is looked for as that of our commands."""
    garbage.look_less_often()
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        seconds = await _measure(requester, **json.loads(line))
        print(f"{ANSWER}{json.dumps(seconds)}", flush=True)


async def in_window(tasks: int, window: int, one: Callable[[], Awaitable[object]]) -> None:
    """``one`` so many times, at most ``window`` of them under way at a time."""
    left = iter(range(tasks))

    async def lane() -> None:
        for _ in left:
            await one()

    await asyncio.gather(*(lane() for _ in range(min(tasks, window))))


async def _measure(requester: Requester, *, do: str, tasks: int, **options: Any) -> list[float]:
    """Seconds: of all together (``many``, ``send``), or of each by itself (``calls``, ``paced``)."""
    if do == "many":
        return await _timed(lambda: requester.many(tasks, options["window"]))
    if do == "send":
        return await _timed(lambda: in_window(tasks, options["window"], requester.send))
    if do == "paced":
        return await _paced(requester.one, tasks, options["rate"])
    return [second for _ in range(tasks) for second in await _timed(requester.one)]


async def _timed(action: Callable[[], Awaitable[object]]) -> list[float]:
    start = time.perf_counter()
    await action()
    return [time.perf_counter() - start]


async def _paced(one: Callable[[], Awaitable[object]], tasks: int, rate: float) -> list[float]:
    """Begin a call each 1/``rate`` seconds, whatever becomes of the others. Latency counts from when a call was
    due: if it had to wait for those before it, that is its latency too."""
    seconds: list[float] = []

    async def timed(due: float) -> None:
        await one()
        seconds.append(time.perf_counter() - due)

    start = time.perf_counter() + _LEAD_S
    async with asyncio.TaskGroup() as calls:
        for number in range(tasks):
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            calls.create_task(timed(due))
    return seconds
