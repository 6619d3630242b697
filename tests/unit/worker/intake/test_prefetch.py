"""How many deliveries a worker comes to hold, by what it sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.config.holding import LONGEST_WAIT_S
from worker.intake.prefetch import (
    AHEAD_S,
    FEW,
    LONGEST_WAIT,
    LOOK_S,
    MOST,
    MOST_BYTES,
    QUIET,
    STILL,
    WAIT,
    Aim,
    Flow,
    Return,
    next_aim,
    returned,
)

CONCURRENCY, LEAST = 2, 4


def look(aim: Aim, flow: Flow, now_s: float = 0.0, busy: int = CONCURRENCY, apart: int = 0) -> Aim:
    return next_aim(aim, flow, CONCURRENCY, LEAST, busy, apart, now_s)


def full(run_s: float, count: float = 100.0, size: int = 100) -> Flow:
    """A look's worth of deliveries that ran so long each, from a queue that had more."""
    return Flow(4, int(count), int(count), int(count) * size, count, count * run_s)


def settled(run_s: float, size: int = 100, aim: Aim | None = None) -> Aim:
    """Where it comes to with a queue that never ends."""
    aim = aim or Aim(LEAST)
    for number in range(200):
        aim = look(aim, full(run_s, size=size), number * LOOK_S)
    return aim


flows = st.builds(
    lambda taken, full, size, ran, run_s: Flow(taken, taken, min(full, taken), taken * size, ran, ran * run_s),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.integers(0, 1 << 20),
    st.floats(0, 1000),
    st.floats(0, 100),
)


@given(st.lists(st.tuples(flows, st.integers(0, CONCURRENCY)), max_size=60))
def test_it_and_what_runs_are_never_less_than_the_least_nor_more_than_the_most(
    looks: list[tuple[Flow, int]],
) -> None:
    aim = Aim(LEAST)
    for number, (flow, busy) in enumerate(looks):
        aim = look(aim, flow, number * LOOK_S, busy)
        assert LEAST - min(busy, flow.held) <= aim.prefetch <= MOST
        aim = look(aim, Flow(), number * LOOK_S, 0)
        assert aim.prefetch >= LEAST


@given(st.floats(1e-6, 10.0))
def test_what_waits_is_no_more_work_than_it_should_be(run_s: float) -> None:
    prefetch = settled(run_s).prefetch
    waiting_s = (prefetch - CONCURRENCY) * run_s / CONCURRENCY
    assert prefetch == LEAST or waiting_s <= AHEAD_S * (1 + 1e-6)


@given(st.floats(1e-6, 10.0), st.floats(1e-6, 10.0))
def test_it_comes_to_rest(before_s: float, after_s: float) -> None:
    """Tasks that take as long as ever change nothing any more, whatever they did before."""
    aim = settled(after_s, aim=settled(before_s))
    assert look(aim, full(after_s), 1e9).prefetch == aim.prefetch


@pytest.mark.parametrize(("run_s", "prefetch"), [(1e-6, MOST), (1e-3, 102), (1e-2, 12), (5e-2, LEAST), (1, LEAST)])
def test_short_tasks_wait_in_numbers_and_long_ones_in_their_queue(run_s: float, prefetch: int) -> None:
    assert settled(run_s).prefetch == prefetch


def test_it_grows_within_a_few_looks() -> None:
    aim, looks = Aim(LEAST), []
    while aim.prefetch < MOST:
        looks.append((aim := look(aim, full(1e-5))).prefetch)
    assert looks == [32, 256, 400]


def test_it_does_not_grow_as_long_as_the_queue_has_no_more() -> None:
    flow = Flow(held=1, taken=200, full=0, size=20_000, ran=200, ran_s=0.001)
    assert look(Aim(LEAST), flow).prefetch == LEAST


def test_large_bodies_do_not_wait_in_numbers() -> None:
    assert settled(1e-6, size=1 << 20).prefetch == MOST_BYTES >> 20
    assert settled(1e-6, size=128 << 20).prefetch == LEAST


def test_once_every_slot_is_taken_and_nothing_ends_it_holds_the_least_what_runs_included() -> None:
    aim, held = settled(1e-6), Flow(held=MOST)
    for _ in range(STILL - 1):
        aim = look(aim, held)
        assert aim.prefetch == MOST
    aim = look(aim, held)
    assert (aim.prefetch, aim.returns) == (LEAST - CONCURRENCY, Return.ALL)
    aim = look(aim, Flow(held=LEAST), apart=CONCURRENCY)
    assert (aim.prefetch, aim.returns) == (LEAST - CONCURRENCY, Return.OLD)
    assert look(aim, Flow(held=LEAST)).prefetch == LEAST


def test_what_runs_elsewhere_makes_room_as_it_ends() -> None:
    aim, room = Aim(2), []
    for apart in range(100, -1, -1):
        aim = next_aim(aim, Flow(held=102), 100, 102, 100, apart, 0.0)
        room.append(aim.prefetch)
        assert aim.prefetch + apart <= 102
    assert sorted(set(room)) == [2, 4, 8, 16, 32, 64, 102]


def test_what_waits_while_nothing_ends_goes_back_where_others_consume() -> None:
    aim, returns = Aim(LEAST), []
    for _ in range(3 * WAIT):
        aim = look(aim, Flow(held=LEAST))
        returns.append(aim.returns)
    assert aim.prefetch == LEAST
    assert set(returns) == {Return.OLD, Return.IF_SHARED}
    assert [number for number, one in enumerate(returns, 1) if one is not Return.OLD] == [WAIT, 2 * WAIT, 3 * WAIT]


def test_what_goes_back_came_before_the_look_and_did_not_come_back_often() -> None:
    looks = LONGEST_WAIT + 1
    assert returned(Aim(LEAST, returns=Return.ALL), looks, is_shared=False, returns_old=False) == (looks + 1, None)
    shared = Aim(LEAST, returns=Return.IF_SHARED)
    assert returned(shared, looks, is_shared=True, returns_old=False) == (looks, FEW)
    assert returned(shared, looks, is_shared=False, returns_old=True) is None


def test_where_the_broker_would_take_it_back_nothing_waits_for_more_than_twice_the_longest_wait() -> None:
    gone = {looks: returned(Aim(LEAST), looks, is_shared=False, returns_old=True) for looks in range(1, 10_000)}
    assert not any(returned(Aim(LEAST), looks, is_shared=False, returns_old=False) for looks in gone)
    for came in range(0, 5_000, 7):
        went = next(looks for looks, one in gone.items() if one is not None and came < one[0])
        assert LONGEST_WAIT <= went - came <= 2 * LONGEST_WAIT
    assert 2 * LONGEST_WAIT * LOOK_S < LONGEST_WAIT_S


def test_where_a_slot_is_free_nothing_is_long_and_replies_are_merely_slow() -> None:
    aim, held = settled(1e-6), Flow(held=MOST, taken=LEAST + 1)
    for _ in range(10 * STILL):
        aim = look(aim, held, busy=CONCURRENCY - 1)
    assert aim.prefetch == MOST


def test_a_few_long_ones_among_short_ones_are_enough() -> None:
    aim = settled(1e-6)
    for _ in range(3):
        aim = look(aim, Flow(held=MOST, taken=20, full=20, size=2000, ran=20, ran_s=1.0))
    assert aim.prefetch < MOST / 4


def test_after_long_tasks_it_waits_longer_each_time_before_it_grows_again() -> None:
    aim, now_s, waits = settled(1e-6), 100.0, []
    for _ in range(7):
        for _ in range(STILL):
            aim = look(aim, Flow(held=MOST), now_s)
        assert aim.prefetch == LEAST - CONCURRENCY
        aim, shrunk_s = look(aim, Flow(), now_s), now_s
        while aim.prefetch == LEAST:
            now_s += LOOK_S
            aim = look(aim, full(1e-6), now_s)
        waits.append(round(now_s - shrunk_s))
    assert waits == [1, 2, 4, 8, 16, 32, 32]


def test_with_little_to_do_it_holds_the_least_again_and_grows_at_once() -> None:
    aim = settled(1e-6)
    for _ in range(QUIET):
        assert aim.prefetch == MOST
        aim = look(aim, Flow(taken=LEAST, ran=LEAST))
    assert aim == Aim(LEAST)
    assert look(aim, full(1e-6)).prefetch > LEAST
