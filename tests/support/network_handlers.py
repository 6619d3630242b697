"""The handler of loads: it notes its number, and may fail its first attempt."""

from __future__ import annotations

import time

from tests.support.handlers import note
from worker import current


def step(journal: str, number: int, seconds: float = 0.0, fails_every: int = 0) -> int:
    """Take ``seconds``. With ``fails_every``: each so many-th number fails once."""
    note(journal, number=number)
    time.sleep(seconds)
    if fails_every and number % fails_every == 0 and current().attempt == 1:
        raise RuntimeError("the first attempt fails")
    return number
