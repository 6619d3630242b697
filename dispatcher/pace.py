"""How many tasks go into one message, and how many messages are in progress. Pure.

The size is given, or learned from how long tasks run: enough for a batch to hold a worker for about 0.1 s, and few
enough that there are messages in progress for all workers to share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dispatcher.errors import BadRequest
from protocol.limits import Limits

Batch = int | Literal["auto"] | None

#: Tasks in progress without ``window``: one a message; and at most, in batches.
WINDOW, LARGEST_WINDOW = 500, 20_000
#: Batches of a given size that are in progress without ``window``.
_BATCHES = 128
#: A batch is never so large that fewer messages than this fit into the window.
_SHARED_BY = 16
#: Messages in progress; while the size still grows, fewer, so that each step is soon answered.
_MESSAGES, _MESSAGES_GROWING = 500, 32
#: How long a batch is meant to hold a worker.
_HOLD_MS = 100.0
#: How much the latest batch counts in the mean.
_WEIGHT = 0.25


@dataclass(slots=True)
class Pace:
    """``size`` tasks a message, at most ``messages`` messages and ``window`` tasks in progress."""

    window: int
    size: int
    messages: int

    def answered(self, tasks: int, mean_ms: float) -> None:
        """A message of ``tasks`` was answered, which ran ``mean_ms`` in the mean. A given size stays."""


@dataclass(slots=True)
class LearningPace(Pace):
    """``size`` follows the mean run time of a task, from 1."""

    largest: int
    mean_ms: float | None = None

    def answered(self, tasks: int, mean_ms: float) -> None:
        self.mean_ms = mean_ms if self.mean_ms is None else self.mean_ms + _WEIGHT * (mean_ms - self.mean_ms)
        fit = fitting(self.mean_ms, self.largest)
        self.size = following(self.size, tasks, fit)
        self.messages = _MESSAGES if self.size == fit else _MESSAGES_GROWING


def pace(batch: Batch, window: int | None, limits: Limits) -> Pace:
    """The pace that is asked for. Raises ``BadRequest`` for a size that no worker would take."""
    if batch is None:
        window = window or WINDOW
        return Pace(window, 1, window)
    if batch == "auto":
        window = window or LARGEST_WINDOW
        return LearningPace(window, 1, _MESSAGES_GROWING, largest(window, limits.batch_tasks))
    if not 1 <= batch <= limits.batch_tasks:
        raise BadRequest(f"a batch must be of 1 to {limits.batch_tasks} tasks, or auto; not {batch}")
    window = window or max(WINDOW, min(_BATCHES * batch, LARGEST_WINDOW))
    return Pace(window, min(batch, window), window)


def largest(window: int, limit: int) -> int:
    """How large a batch may grow in a window."""
    return max(1, min(limit, window // _SHARED_BY))


def fitting(mean_ms: float, largest: int) -> int:
    """How many tasks of this mean hold a worker for the time that is meant; at least 1."""
    return largest if mean_ms * largest <= _HOLD_MS else max(1, int(_HOLD_MS / mean_ms))


def following(size: int, answered: int, fit: int) -> int:
    """The size after a message of ``answered`` tasks: at once as small as fits, but never more than twice
    what was seen to fit."""
    return min(fit, max(size, 2 * answered))
