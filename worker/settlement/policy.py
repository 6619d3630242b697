"""What follows from a run that was not done. Pure: values in, a decision out; time and chance are parameters.

Where an ack happens: nowhere here. ``worker.settlement.failures`` carries a decision out and acks last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

from broker.config.settings import RetrySettings
from protocol.delay import LONGEST_S
from protocol.errors import ErrorCode
from protocol.task import Task
from worker.execution.outcome import Failed, Rejected, RetryAsked
from worker.expiry import is_expired


@dataclass(frozen=True, slots=True)
class RetryIn:
    """Publish a copy into the delay line, then ack. ``error`` and ``text`` go into its history."""

    delay_s: float
    error: str
    text: str


@dataclass(frozen=True, slots=True)
class Bury:
    """Write a dead letter, reply to the requester, then ack."""

    code: ErrorCode
    error: str
    text: str


Decision = RetryIn | Bury


def decide(
    outcome: Failed | RetryAsked | Rejected, task: Task, retry: RetrySettings, *, now_ms: int, chance: float
) -> Decision:
    """Decide. ``chance`` is a random number from 0 to 1, which spreads the backoff upwards by the jitter."""
    match outcome:
        case Rejected():
            return Bury(outcome.code, outcome.type, outcome.text)
        case Failed():
            again = RetryIn(backoff_s(task.attempt, retry, chance), outcome.type, outcome.text)
            return _again_or_bury(again, outcome.code, task, retry, now_ms)
        case RetryAsked():
            delay_s = backoff_s(task.attempt, retry, chance) if outcome.after_s is None else outcome.after_s
            again = RetryIn(delay_s, "Retry", outcome.text)
            return _again_or_bury(again, ErrorCode.RETRIES_EXHAUSTED, task, retry, now_ms)
        case _:
            assert_never(outcome)


def backoff_s(attempt: int, retry: RetrySettings, chance: float) -> float:
    """Seconds to wait after a failed attempt: never less than nominal, at most nominal × (1 + jitter).

    A list that is shorter than the number of retries repeats its last entry.
    """
    nominal = retry.backoff_s[min(attempt, len(retry.backoff_s)) - 1]
    return min(nominal * (1 + retry.jitter * chance), LONGEST_S)


def _again_or_bury(
    again: RetryIn, code: ErrorCode, task: Task, retry: RetrySettings, now_ms: int
) -> RetryIn | Bury:
    if task.attempt > retry.max_retries:
        return Bury(code, again.error, again.text)
    if is_expired(task.expires_at, now_ms + math.ceil(again.delay_s * 1000)):
        return Bury(ErrorCode.EXPIRED, again.error, f"a retry would end too late: {again.text}")
    return again
