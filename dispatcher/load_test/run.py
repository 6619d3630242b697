"""Sending a load and counting what comes of it.

No coordinated omission: with a rate, a task's latency counts from when it was due. That holds if the dispatcher
itself is late, too, or if no more may be sent because ``window`` are in progress.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from broker.config.settings import Settings
from dispatcher.client import Dispatcher
from dispatcher.load_test.plan import Plan
from dispatcher.load_test.tally import Tally
from dispatcher.load_test.threads import in_threads

_LIVE_S = 1.0

#: A number, when it was due, its arguments; None: there are no more.
_Queue = asyncio.Queue[tuple[int, Mapping[str, Any]] | None]


async def run_load(settings: Settings, plan: Plan, report: Callable[[str], None]) -> dict[str, Any]:
    """Send it all, wait for all ends; the run as data. ``report`` gets a line each second.

    Raises what opening a ``Dispatcher`` raises; how tasks end is counted and not raised.
    """
    tally, dispatcher = Tally(), Dispatcher(settings)
    await dispatcher.open(plan.timeout_s)
    async with dispatcher:
        started_s = time.monotonic()
        reporting = asyncio.create_task(_report_each_second(tally, started_s, report))
        try:
            if plan.collect in ("sequential", "threads"):
                await in_threads(dispatcher, plan, tally, started_s)
            else:
                await _Stream(dispatcher, plan, tally, started_s).run()
        finally:
            reporting.cancel()
        wall_s = time.monotonic() - started_s
        return tally.to_map(plan, dispatcher.metrics, wall_s, _peak_mib())


class _Stream:
    """A map for each task of the mix. What is in progress, and so memory, is bounded for all of them together."""

    def __init__(self, dispatcher: Dispatcher, plan: Plan, tally: Tally, started_s: float) -> None:
        self._dispatcher = dispatcher
        self._plan = plan
        self._tally = tally
        self._started_s = started_s
        self._room = asyncio.Semaphore(plan.window)
        self._queues: dict[str, _Queue] = {part.task: asyncio.Queue() for part in plan.parts}
        self._due_s: dict[int, float] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for task, queue in self._queues.items():
                group.create_task(self._collect(task, queue))
            group.create_task(self._feed())

    async def _feed(self) -> None:
        for number, task, arguments in self._plan.inputs():
            after_s = self._plan.due_s(number)
            if after_s is not None:
                if self._plan.is_over(after_s):
                    break
                # Late or not, the loop gets its turn.
                await asyncio.sleep(max(0.0, self._started_s + after_s - time.monotonic()))
            await self._room.acquire()
            if after_s is None:
                after_s = time.monotonic() - self._started_s
                if self._plan.is_over(after_s):
                    break
            self._due_s[number] = self._started_s + after_s
            self._queues[task].put_nowait((number, arguments))
            self._tally.sent += 1
        for queue in self._queues.values():
            queue.put_nowait(None)

    async def _collect(self, task: str, queue: _Queue) -> None:
        plan = self._plan
        async for chunk in self._dispatcher.map_chunks(
            _taken(queue), task, window=plan.window, timeout_s=plan.timeout_s, batch=plan.batch
        ):
            now_s = time.monotonic()
            for ended in chunk:
                self._tally.end(ended.end, now_s - self._due_s.pop(ended.line), now_s - self._started_s)
                self._room.release()


async def _taken(queue: _Queue) -> AsyncIterator[tuple[int, Mapping[str, Any]]]:
    while (item := await queue.get()) is not None:
        yield item


async def _report_each_second(tally: Tally, started_s: float, report: Callable[[str], None]) -> None:
    for count in range(1, 10**9):
        await asyncio.sleep(max(0.0, started_s + count * _LIVE_S - time.monotonic()))
        report(tally.live(time.monotonic() - started_s))


def _peak_mib() -> float | None:
    """The most memory that this process had; None where there is no procfs.

    ``getrusage`` will not do: its figure outlives exec, so that it is that of a larger parent.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)
