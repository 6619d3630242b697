"""A circuit breaker: whether what some tasks depend on works, judged by how their runs end. Pure."""

from __future__ import annotations

from collections import deque
from enum import StrEnum

from broker.config.breaker_settings import BreakerSettings
from protocol.errors import ErrorCode
from worker.execution.outcome import Done, Failed, Outcome, Rejected, RetryAsked

#: These end a task before its handler is called: they say nothing about what it depends on.
_NOT_RUN = (ErrorCode.EXPIRED, ErrorCode.BAD_ARGUMENTS, ErrorCode.UNDECODABLE, ErrorCode.TOO_LARGE)


class State(StrEnum):
    """closed: tasks run. open: they wait. half_open: one is tried."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


def is_success(outcome: Outcome) -> bool | None:
    """Whether a run speaks for what it depends on, or against it; None if it says nothing.

    A handler that rejects its task got an answer; one that asks for a retry did not get one it could use.
    """
    match outcome:
        case Failed() | RetryAsked():
            return False
        case Rejected(code=code) if code in _NOT_RUN:
            return None
        case Done() | Rejected():
            return True


class Breaker:
    """Hears how runs end, and says what follows: ``ended`` while it is closed, ``tried`` for the one that is
    tried."""

    def __init__(self, settings: BreakerSettings) -> None:
        self.settings = settings
        self.state = State.CLOSED
        #: How often it opened; a try that failed does not count as another time.
        self.openings = 0
        self._latest: deque[bool] = deque(maxlen=settings.runs)

    def ended(self, is_well: bool) -> bool:
        """A run has ended while it was closed. True if it opens by that."""
        self._latest.append(is_well)
        if is_well or len(self._latest) < self.settings.runs:
            return False
        if self.failed < self.settings.failure_share * self.settings.runs:
            return False
        self.state = State.OPEN
        self.openings += 1
        return True

    @property
    def failed(self) -> int:
        """How many of the latest runs failed."""
        return self._latest.count(False)

    def half_open(self) -> None:
        self.state = State.HALF_OPEN

    def tried(self, is_well: bool) -> None:
        """The one that was tried has ended: closed again, with nothing remembered, or open again."""
        if is_well:
            self.state = State.CLOSED
            self._latest.clear()
        else:
            self.state = State.OPEN
