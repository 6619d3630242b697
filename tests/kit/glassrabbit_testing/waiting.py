"""Waiting, always with a deadline: for a condition, for a coroutine, for a line of a process.

Deadlines are those of a machine with nothing else to do; on a busier one they are as much longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from glassrabbit_testing.slowness import slowness

T = TypeVar("T")

_POLL_S = 0.02


def patiently(wait: Callable[[float], T], within_s: float) -> T:
    """What ``wait(seconds)`` returns; if that is nothing, once more for as long as a busy machine may take."""
    return wait(within_s) or wait(within_s * (slowness() - 1))


def eventually(check: Callable[[], T], what: str = "it", within_s: float = 10.0) -> T:
    """The first true value of ``check``, which is asked again and again. The only place where tests poll."""

    value = patiently(lambda for_s: _polled(check, for_s), within_s)
    assert value, f"{what} did not happen within {within_s:g} s (last: {value!r})"
    return value


def _polled(check: Callable[[], T], for_s: float) -> T:
    deadline = time.monotonic() + for_s
    while not (value := check()) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return value


def insist(action: Callable[[], T], *errors: type[Exception], within_s: float = 30.0) -> T:
    """What ``action`` returns; begun again as long as it raises one of these, as over a broker that is slow."""
    done: list[T] = []

    def tried() -> bool:
        with contextlib.suppress(*errors):
            done.append(action())
        return bool(done)

    if patiently(lambda for_s: _polled(tried, for_s), within_s):
        return done[0]
    return action()


def run(coroutine: Coroutine[Any, Any, T], within_s: float = 30.0) -> T:
    """Run a coroutine to its end on a loop of its own; raises ``TimeoutError`` if that takes longer."""

    async def bounded() -> T:
        async with asyncio.timeout(within_s):
            return await coroutine

    return asyncio.run(bounded())
