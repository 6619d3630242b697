"""A circuit breaker: whether what some tasks depend on works, told by how their runs end. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from broker.breaker_settings import BreakerSettings
from protocol.errors import ErrorCode
from worker.outcome import Done, Failed, Outcome, Rejected, RetryAsked

#: What is remembered of the runs of a window, at most.
KEPT_RUNS = 1000
#: These end a task before its handler is called: they say nothing about what it depends on.
_NOT_RUN = (ErrorCode.EXPIRED, ErrorCode.BAD_ARGUMENTS, ErrorCode.UNDECODABLE, ErrorCode.TOO_LARGE)


class State(StrEnum):
    """closed: tasks run. open: they wait. half_open: one is tried."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


def works(outcome: Outcome) -> bool | None:
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


@dataclass(slots=True)
class Breaker:
    """Hears how runs end, and says what follows: ``ended`` while it is closed, ``tried`` for the one that is
    tried. Times are seconds that never go back."""

    settings: BreakerSettings
    state: State = State.CLOSED
    #: How often it opened; a try that failed does not count as another time.
    openings: int = 0
    since_s: float = 0.0
    _runs: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=KEPT_RUNS))

    def ended(self, is_well: bool, now_s: float) -> bool:
        """A run has ended while it was closed. True if it opens by that."""
        self._runs.append((now_s, is_well))
        if is_well:
            return False
        while self._runs[0][0] <= now_s - self.settings.window_s:
            self._runs.popleft()
        runs, failed = self.seen
        if runs < self.settings.min_runs or failed < self.settings.failure_share * runs:
            return False
        self.state, self.since_s = State.OPEN, now_s
        self.openings += 1
        return True

    @property
    def seen(self) -> tuple[int, int]:
        """Runs of the window, and how many of them failed."""
        return len(self._runs), sum(not is_well for _, is_well in self._runs)

    def half_open(self) -> None:
        self.state = State.HALF_OPEN

    def tried(self, is_well: bool) -> None:
        """The one that was tried has ended: closed again, with nothing remembered, or open again."""
        if is_well:
            self.state = State.CLOSED
            self._runs.clear()
        else:
            self.state = State.OPEN
