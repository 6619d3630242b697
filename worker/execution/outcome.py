"""How one run of a task can end: a closed set, matched exhaustively by ``worker.settlement.policy``."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.errors import ErrorCode


@dataclass(slots=True)
class Done:
    """The handler returned; ``result`` is what it returned, as msgpack."""

    result: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """It may go better next time: an error, a time-out, a dead child.

    ``code`` is what the task ends with if there is no next time.
    """

    code: ErrorCode
    type: str
    text: str


@dataclass(frozen=True, slots=True)
class RetryAsked:
    """The handler raised ``Retry``."""

    after_s: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """It will not go better next time."""

    code: ErrorCode
    type: str
    text: str


Outcome = Done | Failed | RetryAsked | Rejected
