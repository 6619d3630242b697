from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.delay import LEVELS, LONGEST_S, UNIT_MS, due_key, enter, level_key, ttl_ms

TASK = "task_a"
delays = st.floats(0, LONGEST_S)


def matches(pattern: str, key: str) -> bool:
    """A topic exchange's match, for patterns of ``*``, words and a ``#`` at the end."""
    wanted, words = pattern.split("."), key.split(".")
    if wanted[-1] == "#":
        wanted = wanted[:-1]
        words, given_words = words[: len(wanted)], words
        if len(given_words) < len(wanted):
            return False
    return len(wanted) == len(words) and all(want in ("*", word) for want, word in zip(wanted, words, strict=True))


@given(delays)
@example(0.0)
@example(1.1)
@example(LONGEST_S)
def test_the_queues_on_the_way_add_up_to_the_delay(seconds: float) -> None:
    hop = enter(seconds, TASK)
    waits = [level for level in range(LEVELS) if matches(level_key(level, 1), hop.routing_key)]
    assert sum(map(ttl_ms, waits)) == hop.delay_ms
    assert hop.exchange == f"tasks.delay.{max(waits):02d}"


@given(delays)
def test_no_delay_is_shorter_than_asked_for_nor_a_unit_longer(seconds: float) -> None:
    late_ms = enter(seconds, TASK).delay_ms - seconds * 1000
    assert late_ms > -0.001
    assert late_ms < UNIT_MS or enter(seconds, TASK).delay_ms == UNIT_MS


@given(st.integers(1, 2**LEVELS - 1))
def test_whole_units_are_kept_to_the_millisecond(units: int) -> None:
    assert enter(units / 10, TASK).delay_ms == units * UNIT_MS
    assert enter(units * 0.1, TASK).delay_ms == units * UNIT_MS


@given(st.integers(1, 2**LEVELS - 1), st.sampled_from([TASK, "daily", "reports.daily", "a.b.c.d"]))
def test_every_switch_on_the_way_goes_one_way_and_the_end_knows_one_task(units: int, task: str) -> None:
    key = enter(units / 10, task).routing_key
    for level in range(LEVELS):
        assert matches(level_key(level, 0), key) is not matches(level_key(level, 1), key)
    ends = [name for name in (TASK, "daily", "reports.daily", "a.b.c.d") if matches(due_key(name), key)]
    assert ends == [task]


@given(st.floats())
def test_what_cannot_be_waited_is_refused_and_never_clamped(seconds: float) -> None:
    if 0 <= seconds <= LONGEST_S:
        return
    with pytest.raises(ValueError, match="29 h"):
        enter(seconds, TASK)


@pytest.mark.parametrize("seconds", [-0.001, LONGEST_S + 0.001, math.nan, math.inf, -math.inf, 10**30])
def test_the_bounds_are_exact(seconds: float) -> None:
    with pytest.raises(ValueError, match="29 h"):
        enter(seconds, TASK)


def test_nothing_waits_less_than_one_unit() -> None:
    assert enter(0, TASK).delay_ms == UNIT_MS


def test_a_key_for_the_longest_name_fits_into_a_short_string() -> None:
    assert len(enter(LONGEST_S, "a" * 100).routing_key) <= 255
