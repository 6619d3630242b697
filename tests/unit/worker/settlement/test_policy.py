from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.config.settings import RetrySettings
from protocol.delay import LONGEST_S
from protocol.errors import ErrorCode
from protocol.task import Task
from worker.execution.outcome import Failed, Rejected, RetryAsked
from worker.expiry import is_expired
from worker.settlement.policy import Bury, RetryIn, backoff_s, decide

RETRY = RetrySettings()
NOW = 1_700_000_000_000
FAILED = Failed(ErrorCode.RETRIES_EXHAUSTED, "ValueError", "why")

chances = st.floats(0, 1, exclude_max=True)
retries = st.builds(
    RetrySettings,
    max_retries=st.integers(0, 100),
    backoff_s=st.lists(st.floats(0.1, 50_000), min_size=1, max_size=6).map(tuple),
    jitter=st.floats(0, 1),
)
codes = st.sampled_from(ErrorCode)
failures = st.builds(Failed, codes, st.text(max_size=5), st.text(max_size=5))
outcomes = (
    failures
    | st.builds(Rejected, codes, st.text(max_size=5), st.text(max_size=5))
    | st.builds(RetryAsked, st.none() | st.floats(0, LONGEST_S), st.text(max_size=5))
)


def task(attempt: int = 1, expires_at: int = 0) -> Task:
    return Task(id="0" * 32, name="task_a", body=b"\x80", attempt=attempt, expires_at=expires_at)


def test_a_rejection_buries_at_the_first_attempt_with_its_own_code() -> None:
    outcome = Rejected(ErrorCode.BAD_ARGUMENTS, "TypeError", "text")
    assert decide(outcome, task(), RETRY, now_ms=NOW, chance=0) == Bury(
        ErrorCode.BAD_ARGUMENTS, "TypeError", "text"
    )


@pytest.mark.parametrize(("attempt", "delay_s"), [(1, 5), (2, 10), (3, 20)])
def test_a_failure_waits_5_10_and_20_seconds(attempt: int, delay_s: float) -> None:
    assert decide(FAILED, task(attempt), RETRY, now_ms=NOW, chance=0) == RetryIn(delay_s, "ValueError", "why")


@pytest.mark.parametrize("code", [ErrorCode.RETRIES_EXHAUSTED, ErrorCode.TIMED_OUT, ErrorCode.WORKER_LOST])
def test_the_fourth_failure_buries_with_the_code_of_how_it_failed(code: ErrorCode) -> None:
    outcome = Failed(code, "ValueError", "why")
    assert decide(outcome, task(4), RETRY, now_ms=NOW, chance=0) == Bury(code, "ValueError", "why")


def test_without_retries_the_first_failure_buries() -> None:
    retry = RetrySettings(max_retries=0)
    assert isinstance(decide(FAILED, task(), retry, now_ms=NOW, chance=0), Bury)


def test_a_handler_chooses_its_own_delay_without_jitter_and_uses_up_an_attempt() -> None:
    asked = RetryAsked(7.5, "later")
    assert decide(asked, task(1), RETRY, now_ms=NOW, chance=0.9) == RetryIn(7.5, "Retry", "later")
    assert decide(asked, task(4), RETRY, now_ms=NOW, chance=0.9) == Bury(
        ErrorCode.RETRIES_EXHAUSTED, "Retry", "later"
    )


def test_a_handler_that_names_no_delay_gets_the_backoff() -> None:
    assert decide(RetryAsked(None, "later"), task(2), RETRY, now_ms=NOW, chance=0) == RetryIn(10, "Retry", "later")


def test_a_retry_that_would_end_too_late_is_buried_at_once() -> None:
    settlement = decide(FAILED, task(expires_at=NOW + 2999), RETRY, now_ms=NOW, chance=0)
    assert settlement == Bury(ErrorCode.EXPIRED, "ValueError", "a retry would end too late: why")
    in_time = decide(FAILED, task(expires_at=NOW + 3000), RETRY, now_ms=NOW, chance=0)
    assert isinstance(in_time, RetryIn)


def test_a_task_may_be_two_seconds_past_its_time_since_clocks_differ() -> None:
    assert not is_expired(NOW, NOW + 2000)
    assert is_expired(NOW, NOW + 2001)
    assert not is_expired(0, NOW)


@given(st.integers(1, 200), retries, chances)
def test_a_backoff_is_never_shorter_than_nominal_nor_longer_than_its_jitter(
    attempt: int, retry: RetrySettings, chance: float
) -> None:
    nominal = retry.backoff_s[min(attempt, len(retry.backoff_s)) - 1]
    assert nominal <= backoff_s(attempt, retry, chance) <= min(nominal * (1 + retry.jitter), LONGEST_S)


@given(outcomes, st.integers(1, 200), retries, st.integers(0, 2 * NOW), chances)
def test_every_outcome_is_settled_and_no_task_is_tried_for_ever(
    outcome: Failed | RetryAsked | Rejected, attempt: int, retry: RetrySettings, expires_at: int, chance: float
) -> None:
    settlement = decide(outcome, task(attempt, expires_at), retry, now_ms=NOW, chance=chance)
    if isinstance(settlement, RetryIn):
        assert attempt <= retry.max_retries
        assert 0 <= settlement.delay_s <= LONGEST_S
        assert not isinstance(outcome, Rejected)
