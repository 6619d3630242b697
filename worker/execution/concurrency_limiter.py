"""How many tasks may run at once, first come, first served; and a way to send those who wait back.

One executor alone bounds this by itself: its threads or children are as many as tasks may run. Coroutines are not
bounded by anything, and several executors only together: these need a limit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from worker.execution.executor import Run


class ConcurrencyLimiter:
    """Hands runs of one task each to ``begin``, at most ``limit`` at a time."""

    def __init__(self, limit: int, begin: Callable[[Run], None]) -> None:
        self._limit = limit
        self._begin = begin
        self._waiting: deque[Run] = deque()
        self._busy = 0
        self._handing_out = False

    def add(self, run: Run) -> None:
        """Begin a run as soon as there is room."""
        self._waiting.append(run)
        self._hand_out()

    def release(self) -> None:
        """A run that was begun has ended."""
        self._busy -= 1
        self._hand_out()

    def withdraw(self) -> None:
        """End every run that waits here with None."""
        waiting, self._waiting = self._waiting, deque()
        for run in waiting:
            # It never had room: the end of it gives some back.
            self._busy += 1
            run.on_results([(0, None, 0.0)])

    def _hand_out(self) -> None:
        if self._handing_out:
            # A run that ends where it begins is back here before the loop below has gone on.
            return
        self._handing_out = True
        try:
            while self._waiting and self._busy < self._limit:
                self._busy += 1
                self._begin(self._waiting.popleft())
        finally:
            self._handing_out = False
