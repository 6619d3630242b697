"""Who may run beside whom: tests that measure run alone, all others side by side.

For the workers of one session of pytest-xdist, by locks of files. A test that waits to be alone keeps those from
starting that come after it, so it has to wait for the running ones only.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator

from glassrabbit_testing.shared import locked, opened, remove


@contextlib.contextmanager
def turn(session: str, *, alone: bool) -> Iterator[None]:
    """The turn of one test of a session."""
    with opened(session, "turns") as file:
        with locked(session, "gate"):
            fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


def over(session: str) -> None:
    """Nobody takes a turn any more."""
    remove(session)
