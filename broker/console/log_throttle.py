"""How many lines of one kind are written, so that a flood of one event does not fill a disk. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

#: Lines of one kind within ``WINDOW_S`` seconds.
MOST = 20
WINDOW_S = 10.0


class Kind(NamedTuple):
    """Events that differ in their values alone."""

    logger: str
    level: int
    #: The format, without values.
    shape: str


@dataclass(slots=True)
class _Window:
    began_s: float
    written: int = 0
    left_out: int = 0


class Flood:
    """Counts events by kind. A window begins with the first event of its kind; times are of a monotonic clock."""

    def __init__(self, most: int = MOST, window_s: float = WINDOW_S) -> None:
        self._most = most
        self.window_s = window_s
        self._windows: dict[Kind, _Window] = {}

    def admits(self, kind: Kind, now_s: float) -> bool:
        """Whether this event is to be written; if not, it is counted as left out. Ask ``ended`` before."""
        window = self._windows.setdefault(kind, _Window(now_s))
        if window.written < self._most:
            window.written += 1
            return True
        window.left_out += 1
        return False

    def ended(self, now_s: float) -> list[tuple[Kind, int]]:
        """Of the windows that have ended by now, those in which something was left out: the kind, and how many.

        Each is reported once.
        """
        over = [kind for kind, window in self._windows.items() if now_s - window.began_s >= self.window_s]
        counts = [(kind, self._windows.pop(kind).left_out) for kind in over]
        return [(kind, left_out) for kind, left_out in counts if left_out]
