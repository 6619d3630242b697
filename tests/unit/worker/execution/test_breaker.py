"""A circuit breaker opens on a share of failures, and closes by one run that goes well."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.config.breaker_settings import BreakerSettings
from protocol.errors import ErrorCode
from worker.execution.breaker import Breaker, State, is_success
from worker.execution.outcome import Done, Failed, Outcome, Rejected, RetryAsked


def breaker(runs: int, failure_share: float = 0.5) -> Breaker:
    return Breaker(BreakerSettings(runs=runs, failure_share=failure_share))


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Done(b""), True),
        (Rejected(ErrorCode.REJECTED, "Reject", "no"), True),
        (Rejected(ErrorCode.RESULT_TOO_LARGE, "bytes", "large"), True),
        (Failed(ErrorCode.RETRIES_EXHAUSTED, "OSError", "away"), False),
        (Failed(ErrorCode.TIMED_OUT, "TimeLimit", "long"), False),
        (Failed(ErrorCode.WORKER_LOST, "ChildLost", "gone"), False),
        (RetryAsked(None, "later"), False),
        (Rejected(ErrorCode.EXPIRED, "expired", "late"), None),
        (Rejected(ErrorCode.BAD_ARGUMENTS, "TypeError", "what"), None),
        (Rejected(ErrorCode.UNDECODABLE, "undecodable", "what"), None),
    ],
)
def test_an_outcome_speaks_for_a_dependency_against_it_or_not_at_all(
    outcome: Outcome, expected: bool | None
) -> None:
    assert is_success(outcome) is expected


def test_it_opens_at_its_share_of_failures_and_not_before_enough_runs() -> None:
    one = breaker(4)
    assert [one.ended(is_well) for is_well in (False, False, True, False)] == [False, False, False, True]
    assert (one.state, one.openings, one.failed) == (State.OPEN, 1, 3)


def test_runs_that_went_well_outweigh_failures_below_the_share() -> None:
    one = breaker(4)
    assert not any(one.ended(number % 4 != 0) for number in range(300))


def test_a_try_that_fails_opens_it_again_and_one_that_goes_well_closes_it_with_nothing_remembered() -> None:
    one = breaker(1)
    one.ended(False)
    one.half_open()
    one.tried(False)
    assert one.state is State.OPEN
    one.half_open()
    one.tried(True)
    assert (one.state, one.openings, one.failed) == (State.CLOSED, 1, 0)


@given(st.lists(st.booleans(), max_size=80), st.integers(1, 20), st.floats(0.05, 1.0))
def test_it_opens_at_the_first_failure_that_a_count_by_hand_says(
    ends: list[bool], runs: int, share: float
) -> None:
    one = breaker(runs, share)
    for number, is_well in enumerate(ends, 1):
        latest = ends[max(0, number - runs) : number]
        expected = not is_well and len(latest) == runs and latest.count(False) >= share * runs
        assert one.ended(is_well) is expected
        if expected:
            return
