"""A circuit breaker opens on a share of failures, and closes by one run that goes well."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.breaker_settings import BreakerSettings
from protocol.errors import ErrorCode
from worker.breaker import Breaker, State, works
from worker.outcome import Done, Failed, Outcome, Rejected, RetryAsked


def breaker(min_runs: int, failure_share: float = 0.5, window_s: float = 10.0) -> Breaker:
    return Breaker(BreakerSettings(min_runs=min_runs, failure_share=failure_share, window_s=window_s))


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
    assert works(outcome) is expected


def test_it_opens_at_its_share_of_failures_and_not_before_enough_runs() -> None:
    one = breaker(min_runs=4, failure_share=0.5)
    assert [one.ended(is_well, 1.0) for is_well in (False, False, True, False)] == [False, False, False, True]
    assert (one.state, one.openings, one.since_s) == (State.OPEN, 1, 1.0)


def test_runs_that_went_well_outweigh_failures_below_the_share() -> None:
    one = breaker(min_runs=2, failure_share=0.5)
    assert not any(one.ended(number % 3 == 0 or number % 3 == 1, number / 100) for number in range(300))


def test_runs_before_the_window_do_not_count() -> None:
    one = breaker(min_runs=3, window_s=10.0)
    assert not any(one.ended(False, now_s) for now_s in (0.0, 1.0, 11.0, 20.0))
    assert one.seen == (2, 2)


def test_a_try_that_fails_opens_it_again_and_one_that_goes_well_closes_it_with_nothing_remembered() -> None:
    one = breaker(min_runs=1)
    one.ended(False, 1.0)
    one.half_open()
    one.tried(False)
    assert one.state is State.OPEN
    one.half_open()
    one.tried(True)
    assert (one.state, one.openings, one.seen) == (State.CLOSED, 1, (0, 0))


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 5)), max_size=80),
    st.integers(1, 20),
    st.floats(0.05, 1.0),
    st.floats(0.1, 20),
)
def test_it_opens_at_the_first_failure_that_a_count_by_hand_says(
    runs: list[tuple[bool, float]], min_runs: int, share: float, window_s: float
) -> None:
    one = breaker(min_runs=min_runs, failure_share=share, window_s=window_s)
    now_s, ended = 0.0, list[tuple[float, bool]]()
    for is_well, later_s in runs:
        now_s += later_s
        ended.append((now_s, is_well))
        recent = [well for at, well in ended if at > now_s - window_s]
        expected = not is_well and len(recent) >= min_runs and recent.count(False) >= share * len(recent)
        assert one.ended(is_well, now_s) is expected
        if expected:
            return
