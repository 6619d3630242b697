"""Sending a load and counting what comes of it.

No coordinated omission: with a rate, a task's latency counts from when it was due. That holds if the dispatcher
itself is late, too, or if no more may be sent because ``window`` are in progress.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from broker.config.settings import Settings
from dispatcher.client import Dispatcher
from dispatcher.load_test.plan import Plan
from dispatcher.load_test.tally import Tally
from dispatcher.pending import End
from protocol.errors import GlassrabbitError
from protocol.reply import Reply

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


async def in_threads(dispatcher: Dispatcher, plan: Plan, tally: Tally, started_s: float) -> None:
    """Collect with calls that wait, to see what that costs: each of ``plan.window`` threads sends a task, waits
    for its end, and takes the next."""
    loop, inputs, lock = asyncio.get_running_loop(), plan.inputs(), threading.Lock()
    stopped = threading.Event()
    asked: set[Future[Reply]] = set()

    def ask() -> Future[Reply] | None:
        with lock:
            taken = None if stopped.is_set() or plan.is_over(time.monotonic() - started_s) else next(inputs, None)
            if taken is None:
                return None
            _number, task, arguments = taken
            tally.sent += 1
            asking = dispatcher.ask(task, arguments, timeout_s=plan.timeout_s)
            future = asyncio.run_coroutine_threadsafe(asking, loop)
            asked.add(future)
            return future

    def work() -> None:
        while True:
            sent_s = time.monotonic()
            future = ask()
            if future is None:
                return
            try:
                end: End = future.result()
            except GlassrabbitError as error:
                end = error
            except CancelledError:
                return
            now_s = time.monotonic()
            with lock:
                asked.discard(future)
                tally.end(end, now_s - sent_s, now_s - started_s)

    with ThreadPoolExecutor(plan.window, thread_name_prefix="load") as pool:
        working = [loop.run_in_executor(pool, work) for _ in range(plan.window)]
        try:
            await asyncio.gather(*working)
        finally:
            # On Ctrl-C no thread may wait for this loop, which then waits for the threads.
            with lock:
                stopped.set()
                for future in asked:
                    future.cancel()
