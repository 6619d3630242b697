"""Waiting, always with a deadline: for a condition, for a coroutine, for a line of a process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_POLL_S = 0.02


def eventually(check: Callable[[], T], what: str = "it", within_s: float = 10.0) -> T:
    """The first true value of ``check``, which is asked again and again. The only place where tests poll."""
    deadline = time.monotonic() + within_s
    while not (value := check()):
        assert time.monotonic() < deadline, f"{what} did not happen within {within_s:g} s (last: {value!r})"
        time.sleep(_POLL_S)
    return value


def run(coroutine: Coroutine[Any, Any, T], within_s: float = 30.0) -> T:
    """Run a coroutine to its end on a loop of its own; raises ``TimeoutError`` if that takes longer."""

    async def bounded() -> T:
        async with asyncio.timeout(within_s):
            return await coroutine

    return asyncio.run(bounded())
