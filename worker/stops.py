"""Which signals stop a worker, and when another one means *at once*. The clock is a parameter."""

from __future__ import annotations

import os
import signal
from enum import Enum

#: What comes sooner after the first is that one once more: a supervisor that signals a process and its group.
SAME_S = 0.1


class Stop(Enum):
    """What runs is finished first, or nothing is."""

    FINISH = "finish"
    AT_ONCE = "at once"


def heeded() -> list[signal.Signals]:
    """The signals that stop a worker. SIGHUP, which a closed terminal sends, but for a process that was started to
    ignore it (``nohup``)."""
    hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hangs_up else [])]


class Stops:
    """Hears the signals in their order."""

    def __init__(self) -> None:
        self._first_s: float | None = None

    def hear(self, number: signal.Signals, now_s: float) -> Stop | None:
        """What follows from it. SIGHUP is never another one: a terminal sends it, and its shell too, and systemd
        beside SIGTERM."""
        if self._first_s is None:
            self._first_s = now_s
            return Stop.FINISH
        return None if number is signal.SIGHUP or now_s - self._first_s < SAME_S else Stop.AT_ONCE


def has_terminal() -> bool:
    """Whether this process has a controlling terminal; not any more, once that was closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
