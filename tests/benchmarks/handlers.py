"""Tasks that do nothing: what is left is the cost of the way."""

from __future__ import annotations

import time


def noop(data: str) -> None:
    """For processes and threads."""


async def noop_async(data: str) -> None:
    """For the async executor."""


def stamp(data: str) -> int:
    """When it began, in nanoseconds of the monotonic clock."""
    return time.monotonic_ns()


async def stamp_async(data: str) -> int:
    return time.monotonic_ns()


def sleep(data: str) -> None:
    """Takes a tenth of a second, and no CPU."""
    time.sleep(0.1)
