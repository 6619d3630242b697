"""What a handler may know of its task, and how it may end other than by returning or raising an error."""

from __future__ import annotations

from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import SupportsFloat

from protocol.delay import LONGEST_S


class Retry(Exception):
    """Raise it to be run again, after ``after`` seconds or by the task's backoff. It uses up an attempt."""

    after: SupportsFloat | None = None

    def __init__(self, text: str = "the handler asked for a retry", *, after: SupportsFloat | None = None) -> None:
        super().__init__(text)
        self.after = None if after is None else seconds(after)


def seconds(after: SupportsFloat) -> float:
    """What ``Retry(after=…)`` was given. Raises ``ValueError`` for what is no number of seconds, or too large."""
    try:
        number = float(after)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if not 0 <= number <= LONGEST_S:
        raise ValueError(f"Retry(after=…) takes 0 to {LONGEST_S:,.1f} seconds, not {after!r}")
    return number


class Reject(Exception):
    """Raise it to end the task for good: no further attempt, a dead letter with your text as its reason."""


@dataclass(slots=True)
class Current:
    """The task that is running here."""

    id: str
    task: str
    queue: str
    #: 1 for the first run.
    attempt: int
    max_attempts: int
    #: With ``executor: thread``: it was cancelled, and nothing but this can tell it so.
    is_cancelled: bool = False


_current: ContextVar[Current] = ContextVar("glassrabbit_current")


def current() -> Current:
    """The task that this handler runs for. Raises ``LookupError`` where none does."""
    try:
        return _current.get()
    except LookupError:
        raise LookupError(
            "current() is for a handler that a worker runs. In a test: with worker.testing.running(): …"
        ) from None


def enter(context: Current) -> Token[Current]:
    """Called by the executor before a handler starts."""
    return _current.set(context)
