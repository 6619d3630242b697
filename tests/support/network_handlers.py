"""Handlers for tests of the network: that of loads, and one that fails when it is told to."""

from __future__ import annotations

import time

from tests.support.handlers import hold, note
from worker import current


def step(journal: str, number: int, seconds: float = 0.0, fails_every: int = 0) -> int:
    """Take ``seconds``. With ``fails_every``: each so many-th number fails once."""
    note(journal, number=number)
    time.sleep(seconds)
    if fails_every and number % fails_every == 0 and current().attempt == 1:
        raise RuntimeError("the first attempt fails")
    return number


def hold_and_fail(gate: str, journal: str) -> int:
    """Wait for the gate; the first attempt fails."""
    if hold(gate, journal) == 1:
        raise RuntimeError("the first attempt fails")
    return current().attempt
