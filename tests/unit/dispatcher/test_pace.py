from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import BadRequest
from dispatcher.pace import LearningPace, Pace, fitting, following, largest, pace
from protocol.limits import DEFAULT_LIMITS, Limits

#: From no time at all to ten minutes.
means = st.floats(0, 600_000)
sizes = st.integers(1, 1000)


def learning(window: int | None = None) -> LearningPace:
    learned = pace("auto", window, DEFAULT_LIMITS)
    assert isinstance(learned, LearningPace)
    return learned


@given(means, sizes)
def test_a_batch_that_fits_holds_a_worker_for_a_tenth_of_a_second_or_is_a_single_task(
    mean_ms: float, most: int
) -> None:
    fit = fitting(mean_ms, most)
    assert 1 <= fit <= most
    assert fit == 1 or fit * mean_ms <= 100.0
    assert fit == most or (fit + 1) * mean_ms > 100.0


@given(sizes, sizes, sizes)
def test_a_batch_is_at_most_twice_as_large_as_one_that_was_answered_and_shrinks_at_once(
    size: int, answered: int, fit: int
) -> None:
    after = following(size, answered, fit)
    assert 1 <= after <= fit
    assert after <= max(size, 2 * answered)
    assert after == fit or after >= size


@given(st.integers(1, 1_000_000), sizes)
def test_sixteen_batches_of_any_size_fit_into_the_window(window: int, limit: int) -> None:
    most = largest(window, limit)
    assert 1 <= most <= limit
    assert most == 1 or 16 * most <= window


@given(st.lists(st.tuples(means, st.floats(0, 1)), max_size=60), st.integers(1, 100_000))
def test_whatever_tasks_take_the_size_stays_within_its_bounds(
    answers: list[tuple[float, float]], window: int
) -> None:
    learned = learning(window)
    most = largest(window, DEFAULT_LIMITS.batch_tasks)
    for mean_ms, share in answers:
        before, answered = learned.size, max(1, int(learned.size * share))
        learned.answered(answered, mean_ms)
        assert 1 <= learned.size <= max(before, 2 * answered)
        assert learned.size <= most
        assert learned.mean_ms is not None
        assert learned.size == 1 or learned.size * learned.mean_ms <= 100.0
        assert 1 <= learned.messages <= 500


@pytest.mark.parametrize(
    ("mean_ms", "size"), [(0, 1000), (0.02, 1000), (0.1, 1000), (1, 100), (9, 11), (50, 2), (51, 1), (5000, 1)]
)
def test_the_size_comes_to_fit_tasks_that_all_take_the_same_time(mean_ms: float, size: int) -> None:
    learned, seen = learning(), []
    for _ in range(12):
        learned.answered(learned.size, mean_ms)
        seen.append(learned.size)
    assert learned.size == size
    assert seen == sorted(seen)
    # Once the size is right, as many messages may wait as single tasks do.
    assert learned.messages == 500


def test_a_first_task_that_was_slow_is_forgotten_soon() -> None:
    learned = learning()
    learned.answered(1, 300)
    assert learned.size == 1
    for _ in range(60):
        learned.answered(learned.size, 0.05)
    assert learned.size == 1000


def test_tasks_that_become_slow_make_the_batches_small_at_once() -> None:
    learned = learning()
    for _ in range(12):
        learned.answered(learned.size, 0.01)
    learned.answered(1000, 40)
    assert learned.size <= 10


@pytest.mark.parametrize(
    ("batch", "window", "expected"),
    [
        (None, None, Pace(500, 1, 500)),
        (None, 7, Pace(7, 1, 7)),
        (1, None, Pace(500, 1, 500)),
        (50, None, Pace(6400, 50, 6400)),
        (1000, None, Pace(20_000, 1000, 20_000)),
        (50, 20, Pace(20, 20, 20)),
    ],
)
def test_a_given_size_is_kept_and_the_window_holds_many_of_it(
    batch: int | None, window: int | None, expected: Pace
) -> None:
    given_pace = pace(batch, window, DEFAULT_LIMITS)
    given_pace.answered(50, 10_000)
    assert given_pace == expected


@pytest.mark.parametrize("batch", [0, -1, 11])
def test_a_size_that_no_worker_would_take_is_refused(batch: int) -> None:
    with pytest.raises(BadRequest, match="1 to 10 tasks"):
        pace(batch, None, Limits(batch_tasks=10))
