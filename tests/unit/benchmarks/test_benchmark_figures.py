"""Figures from samples: ratios within a round, medians over the rounds, and nothing where nothing was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.benchmarks.figures import About, Figures, figures
from tests.benchmarks.goals import GOALS
from tests.benchmarks.samples import Half, Load, Plan, Raw, Start
from tests.benchmarks.tables import TABLES

_ABOUT = About(
    at="2026-11-24T12:00:00Z",
    rabbitmq="4.0.5",
    python="3.11.7",
    machine="x86_64",
    system="Linux",
    cores=2,
    prefetch=200,
    versions={},
    plan=Plan(3, 1.5, 500, 100),
)


def load(contestant: str, number: int, tasks_per_s: float, *calls_ms: float) -> Load:
    return Load(
        contestant=contestant,
        round=number,
        tasks_per_s=tasks_per_s,
        requester_cpu_us=10.0,
        worker_cpu_us=None,
        broker_cpu_us=100.0,
        elsewhere_cores=0.5,
        calls_ms=list(calls_ms),
    )


def of(raw: Raw) -> Figures:
    return figures(_ABOUT, {"bare": "", "thread": "", "celery solo": ""}, {}, raw)


def test_a_ratio_is_to_the_other_one_in_the_same_round() -> None:
    bare = [load("bare", 1, 1000.0), load("bare", 2, 100.0), load("bare", 3, 4000.0)]
    thread = [load("thread", 1, 2000.0), load("thread", 2, 300.0), load("thread", 3, 4000.0)]
    ratio = of(Raw([*bare, *thread])).rates[1].of_bare
    assert ratio is not None
    assert (ratio.median, ratio.low, ratio.high) == (2.0, 1.0, 3.0)


def test_without_the_other_one_there_is_no_ratio() -> None:
    assert of(Raw([load("thread", 1, 1000.0)])).rates[0].of_bare is None


def test_the_broker_s_share_follows_from_its_cpu_and_the_rate() -> None:
    (rate,) = of(Raw([load("thread", 1, 10_000.0)])).rates
    assert rate.broker_cores == pytest.approx(1.0)
    assert rate.worker_cpu_us is None


def test_latencies_are_those_of_all_rounds_together() -> None:
    calls = [load("thread", 1, 1.0, *range(1, 100)), load("thread", 2, 1.0, 1000.0)]
    (rest,) = of(Raw(calls)).rests
    assert (rest.p50_ms, rest.p99_ms) == (50.5, 1000.0)
    (half,) = of(Raw(halves=[Half(contestant="thread", calls_per_s=50.0, latencies_ms=[3.0, 1.0, 2.0])])).halves
    assert (half.p50_ms, half.p99_ms) == (2.0, 3.0)


def test_a_start_is_the_median_of_all_starts() -> None:
    starts = [Start(contestant="thread", ready_s=s, idle_mb=30.0, processes=1) for s in (0.2, 0.9, 0.3)]
    (start,) = of(Raw(starts=starts)).starts
    assert start.ready_s == 0.3


def test_a_machine_that_others_use_is_not_trusted() -> None:
    busy = of(Raw([load("thread", 1, 1.0)]))
    assert ("all other processes took", "0.5 of 2 cores: too much to trust the figures") in TABLES["about"](busy)[
        1
    ]
    quiet = replace(busy, elsewhere_cores=0.1)
    assert ("all other processes took", "0.1 of 2 cores") in TABLES["about"](quiet)[1]


def test_what_was_not_measured_has_neither_rows_nor_a_verdict() -> None:
    nothing = of(Raw())
    assert [name for name, table in TABLES.items() if table(nothing)[1]] == ["goals", "contestants", "about"]
    assert [goal.value(nothing) for goal in GOALS] == [None] * len(GOALS)


def test_goals_compare_with_the_best_of_the_others() -> None:
    loads = [load("thread", 1, 1500.0), load("celery solo", 1, 100.0), load("celery threads", 1, 50.0)]
    assert GOALS[0].value(of(Raw(loads))) == pytest.approx(15.0)
    assert GOALS[0].reached(15.0)
    assert not GOALS[0].reached(12.9)
