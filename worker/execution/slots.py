"""How many tasks may run at once, first come, first served; and a way to send those who wait back.

One executor alone bounds this by itself: its threads or children are as many as tasks may run. Coroutines are not
bounded by anything, and several executors only together: for these there are slots.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from worker.execution.handler import Call


class Slots:
    """Hands calls to ``begin``, at most ``size`` at a time; all at once, if it is None."""

    def __init__(self, size: int | None, begin: Callable[[list[Call]], None]) -> None:
        self._size = size
        self._begin = begin
        self._waiting: deque[Call] = deque()
        self._busy = 0
        self._handing_out = False

    @property
    def is_unbounded(self) -> bool:
        return self._size is None

    def add(self, calls: list[Call]) -> None:
        """Calls of one task. With slots each of them is begun by itself."""
        if self._size is None:
            self._begin(calls)
        else:
            self._waiting.extend(calls)
            self._hand_out()

    def release(self) -> None:
        """A call that was begun has ended."""
        if self._size is not None:
            self._busy -= 1
            self._hand_out()

    def withdraw(self) -> None:
        """End every call that waits here with None."""
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            # It never had a slot: whoever hears of its end gives one back.
            self._busy += 1
            call.on_end(None, 0.0)

    def _hand_out(self) -> None:
        if self._handing_out or self._size is None:
            # A call that ends where it begins is back here before the loop below has gone on.
            return
        self._handing_out = True
        try:
            while self._waiting and self._busy < self._size:
                self._busy += 1
                self._begin([self._waiting.popleft()])
        finally:
            self._handing_out = False
