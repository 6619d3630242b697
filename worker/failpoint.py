"""Points at which a test may end this process, to see what a crash there costs. Off unless asked for.

``GLASSRABBIT_FAILPOINT=after_reply_confirm`` ends the process when it passes that point; with ``:3`` behind it,
when it passes there for the third time. Nothing is cleaned up and no buffer is sent, as with SIGKILL.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from broker.errors import ConfigError

VARIABLE = "GLASSRABBIT_FAILPOINT"
#: Exit code of a process that ended at a failpoint.
CRASHED = 86

Point = Literal[
    # The handler has ended; nothing was said of it.
    "after_work",
    # A reply, a retry copy or a dead letter was handed to the connection; nobody knows whether it arrived.
    "after_publish",
    "after_reply_confirm",
    "after_remember",
    "after_retry_confirm",
    "after_letter_confirm",
    # The ack was handed to the connection; nobody knows whether it arrived.
    "after_ack",
]


@dataclass(slots=True)
class Armed:
    """A point, and how often it is still passed before the process ends there."""

    point: str
    left: int

    def is_due(self, point: Point, times: int = 1) -> bool:
        if point != self.point:
            return False
        before, self.left = self.left, self.left - times
        return self.left <= 0 < before


def armed(text: str | None) -> Armed | None:
    """What the environment asks for. Raises ``ConfigError`` for what is no point: a test must not run without."""
    if not text:
        return None
    point, _, number = text.partition(":")
    if point not in get_args(Point) or not (number or "1").isdecimal() or number == "0":
        raise ConfigError(
            [f"{VARIABLE}: {text!r} is no failpoint. Use one of {', '.join(get_args(Point))}, or unset it."]
        )
    return Armed(point, int(number or 1))


_armed = armed(os.environ.get(VARIABLE))


def failpoint(point: Point) -> Callable[[int], None] | None:
    """What to call where a point is passed, with for how many tasks at once; None unless a test asked for it."""
    armed_here = _armed
    if armed_here is None or armed_here.point != point:
        return None

    def end_if_due(times: int) -> None:
        if armed_here.is_due(point, times):
            os._exit(CRASHED)

    return end_if_due
