"""How many workers a queue gets: properties of the decision, and what it says of itself."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from broker.config.scaling_settings import FallbackSettings, ScalingSettings
from worker.scaling.autoscale import STEP_UP, Decision, Memory, Sample, decide

samples = st.builds(
    Sample,
    ready=st.integers(0, 10_000),
    unacked=st.none() | st.integers(0, 1000),
    rate=st.none() | st.floats(0, 1000),
)
counts = st.integers(0, 60)


@st.composite
def settings(draw: st.DrawFn) -> ScalingSettings:
    low = draw(st.integers(0, 20))
    return ScalingSettings(
        mode=draw(st.sampled_from(["ExpectedQueueConsumptionTime", "QueueLength"])),
        value=draw(st.floats(0.1, 500)),
        min_replica_count=low,
        max_replica_count=draw(st.integers(max(low, 1), 40)),
        stabilization_window_s=draw(st.floats(0, 100)),
        fallback=FallbackSettings(
            failure_threshold=draw(st.integers(1, 4)), replicas=draw(st.none() | st.integers(0, 50))
        ),
    )


def each(value: float, **further: object) -> ScalingSettings:
    """``value`` tasks for each worker, 1 to 10 workers."""
    return ScalingSettings.model_validate({"mode": "QueueLength", "value": value, **further})


def after(scaling: ScalingSettings, looks: list[tuple[float, Sample | None]], before: int) -> list[Decision]:
    """What is decided look by look, each decision carried out before the next."""
    memory, decisions = Memory(), []
    for now_s, sample in looks:
        decision, memory = decide(scaling, sample, before, 2, memory, now_s)
        decisions.append(decision)
        before = decision.after
    return decisions


@given(settings(), st.lists(st.none() | samples, min_size=1, max_size=12), counts)
def test_every_decision_is_within_the_bounds_and_never_more_than_the_double(
    scaling: ScalingSettings, seen: list[Sample | None], before: int
) -> None:
    low, high = scaling.min_replica_count, scaling.max_replica_count
    for decision in after(scaling, [(5.0 * number, sample) for number, sample in enumerate(seen)], before):
        assert low <= decision.after <= high
        if decision.sample is not None:
            assert decision.after <= max(decision.before * STEP_UP, low, 1)


@given(settings(), st.lists(samples, min_size=1, max_size=12), counts)
def test_it_goes_down_only_to_what_was_enough_for_the_whole_window(
    scaling: ScalingSettings, seen: list[Sample], before: int
) -> None:
    low, high = scaling.min_replica_count, scaling.max_replica_count
    looks: list[tuple[float, Sample | None]] = [(5.0 * number, sample) for number, sample in enumerate(seen)]
    decisions = after(scaling, looks, before)
    for (now_s, _), decision in zip(looks, decisions, strict=True):
        if decision.after < decision.before:
            for (at_s, _), one in zip(looks, decisions, strict=True):
                # What raised the number is what asked for more than was there.
                if now_s - scaling.stabilization_window_s < at_s <= now_s and one.after > one.before:
                    assert decision.after >= min(max(one.after, low), high)
    end_s = looks[-1][0] + scaling.stabilization_window_s + 1
    idle: list[tuple[float, Sample | None]] = [(end_s, Sample(0, 0)), (end_s * 2 + 1, Sample(0, 0))]
    assert after(scaling, [*looks, *idle], before)[-1].after == low


@given(st.integers(1, 10), st.floats(-0.1, 0.1))
def test_within_the_tolerance_nothing_changes(before: int, part: float) -> None:
    load = round(1000 * before * (1 + part * 0.99))
    (decision,) = after(each(1000), [(0.0, Sample(load, 0))], before)
    assert decision.after == before


@given(st.integers(1, 10), st.integers(0, 10_000), st.integers(0, 1000))
def test_beyond_it_there_are_in_the_end_as_many_as_the_load_asks_for(
    before: int, ready: int, unacked: int
) -> None:
    scaling = each(100, stabilization_window_s=0, tolerance=0)
    looks: list[tuple[float, Sample | None]] = [(float(at), Sample(ready, unacked)) for at in range(6)]
    assert after(scaling, looks, before)[-1].after == min(max(math.ceil((ready + unacked) / 100), 1), 10)


@given(samples, st.integers(1, 10), st.integers(1, 10))
def test_more_load_never_asks_for_fewer(sample: Sample, before: int, more: int) -> None:
    larger = Sample(sample.ready + more, sample.unacked, sample.rate)
    for scaling in (ScalingSettings(), each(20)):
        (few,), (many,) = (after(scaling, [(0.0, one)], before) for one in (sample, larger))
        # The first ready task shows how quick the workers are.
        assert sample.ready == 0 or many.after >= few.after


def test_fewer_come_only_after_the_window() -> None:
    scaling = each(10, stabilization_window_s=60)
    looks: list[tuple[float, Sample | None]] = [
        (0, Sample(40, 0)),
        *((at, Sample(0, 0)) for at in (5, 59, 60, 120)),
    ]
    decisions = after(scaling, looks, 4)
    assert [decision.after for decision in decisions] == [4, 4, 4, 1, 1]
    assert str(decisions[1]) == "4: ready 0, unacked 0, target 10 tasks each, 1 would do, 4 wanted within 60 s"


def test_workers_that_hold_all_there_is_are_enough_however_many_each_has() -> None:
    scaling = ScalingSettings(value=10)
    for unacked in (4, 300):
        assert after(scaling, [(0, Sample(0, unacked, rate=5000.0))], 2)[0].after == 2
    assert after(scaling, [(0, Sample(100, 300))], 2)[0].after == 4


def test_without_numbers_it_holds_and_then_falls_back() -> None:
    scaling = each(10, fallback={"failure_threshold": 3, "replicas": 5})
    decisions = after(scaling, [(float(at), None) for at in range(4)], 2)
    assert [decision.after for decision in decisions] == [2, 2, 5, 5]
    assert str(decisions[0]) == "2: no numbers for 1 looks: held"
    assert str(decisions[2]) == "2→5: no numbers for 3 looks: fallback"
    held = after(each(10), [(float(at), None) for at in range(9)], 2)
    assert {decision.after for decision in held} == {2}


def test_a_look_with_numbers_begins_the_count_of_those_without_again() -> None:
    scaling = each(10, fallback={"failure_threshold": 2, "replicas": 9})
    looks: list[tuple[float, Sample | None]] = [(0, None), (1, Sample(20, 0)), (2, None), (3, None)]
    assert [decision.after for decision in after(scaling, looks, 2)] == [2, 2, 2, 9]


def test_a_decision_explains_itself_in_a_line_and_in_json() -> None:
    (decision,) = after(ScalingSettings(max_replica_count=4), [(0.0, Sample(310, 8, 12.0))], 2)
    assert (
        str(decision) == "2→4: ready 310, unacked 8, 12/s, 26 s to empty, target 10 s, 6 wanted, at most 4 allowed"
    )
    assert json.loads(json.dumps(decision.as_json())) == {
        "before": 2,
        "after": 4,
        "wanted": 6,
        "ready": 310,
        "unacked": 8,
        "rate": 12.0,
        "target": "target 10 s",
        "why": "6 wanted, at most 4 allowed",
    }
    (without,) = after(each(10), [(0.0, Sample(200))], 2)
    assert (
        str(without)
        == "2→4: ready 200, unacked unknown, target 10 tasks each, 10 wanted, at most the double at once"
    )
