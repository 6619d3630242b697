"""How busy the machine is, for bounds on wall time that hold on one that has nothing else to do."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

#: Some tenths of a second of work, with no waiting in it.
_WORK = "sum(range(10_000_000))"


def slowness() -> float:
    """How many times as long as alone a process takes that only computes: 1 on an idle machine, N if each
    processor is shared by N. Now or, if that is more, as a mean of the last minute."""
    before = os.getloadavg()[0] / (os.cpu_count() or 1)
    started_s = time.monotonic()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", "-c", _WORK], os.environ)
    _, status, used = os.wait4(pid, 0)
    wall_s = time.monotonic() - started_s
    assert status == 0
    return max(1.0, before, wall_s / (used.ru_utime + used.ru_stime))


def in_time(seconds: float, limit_s: float) -> bool:
    """Whether what took so long, just now, would have taken less than ``limit_s`` with the machine to itself.

    How busy the machine is is asked only if it took longer.
    """
    return seconds < limit_s or seconds < limit_s * slowness()


def limits(limit_s: float) -> Iterator[float]:
    """A limit to try; then twice as much, again and again, as long as the machine is busier than that allows."""
    tried_s = limit_s
    yield tried_s
    while tried_s < limit_s * slowness():
        tried_s *= 2
        yield tried_s
