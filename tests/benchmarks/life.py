"""The stations of a single call at rest: when its handler begins tells how long the way there and back takes.

Handlers return the time at which they begin; on one machine the monotonic clock is the same for all processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from statistics import median

from broker.config.loader import load
from dispatcher.client import Dispatcher
from tests.benchmarks.contestants import Contestant, stampers, task_of
from tests.benchmarks.measure import start_worker
from tests.benchmarks.place import Place
from tests.benchmarks.samples import Stations
from tests.benchmarks.work import ARGUMENTS

#: Calls before those that count.
_WARM = 50


def life(place: Place, calls: int) -> list[Stations]:
    """Medians for each executor."""
    found = []
    for one in stampers():
        with contextlib.ExitStack() as stack:
            start_worker(place, one, stack)
            found.append(asyncio.run(_stations(place, one, calls)))
    return found


async def _stations(place: Place, one: Contestant, calls: int) -> Stations:
    there, back = list[float](), list[float]()
    async with Dispatcher(load(None, place.environment)) as dispatcher:
        for _ in range(_WARM + calls):
            asked = time.monotonic_ns()
            begun = await dispatcher.call(task_of(one.name), ARGUMENTS)
            there.append((begun - asked) / 1000)
            back.append((time.monotonic_ns() - begun) / 1000)
    return Stations(executor=one.executor, there_us=median(there[_WARM:]), back_us=median(back[_WARM:]))
