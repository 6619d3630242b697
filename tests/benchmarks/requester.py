"""The process that asks, told over standard input what to measure: one JSON object a line, one answer each."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from typing import Protocol

from tests.benchmarks.processes import ANSWER


class Requester(Protocol):
    """What both kinds can do. A task that does not end well ends the process."""

    async def many(self, tasks: int, window: int) -> None:
        """Return when ``tasks`` round trips are done, at most ``window`` of them under way at a time."""

    async def one(self) -> None:
        """One round trip."""


async def serve(requester: Requester) -> None:
    """Answer until standard input ends."""
    print("ready")
    while line := await asyncio.to_thread(sys.stdin.readline):
        seconds = await _measure(requester, **json.loads(line))
        print(f"{ANSWER}{json.dumps(seconds)}")


async def _measure(requester: Requester, *, tasks: int, window: int) -> list[float]:
    """Seconds: of all tasks together; with a window of 1, of each by itself."""
    times = [time.perf_counter()]
    if window > 1:
        await requester.many(tasks, window)
        times.append(time.perf_counter())
    else:
        for _ in range(tasks):
            await requester.one()
            times.append(time.perf_counter())
    return [end - start for start, end in itertools.pairwise(times)]
