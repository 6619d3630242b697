"""A simulated spike: the decisions of autoscaling on workers that start slowly and numbers that are old."""

from __future__ import annotations

from typing import Any

import pytest

from broker.config.scaling_settings import ScalingSettings
from tests.support.spike import Plan, wrong
from worker.scaling.autoscale import Memory, Sample, decide

STEP_S = 0.1
#: Workers start slowly, and what the management API says is old.
START_S, STALE_S = 2.0, 5.0


def simulated(plan: Plan) -> dict[str, Any]:
    """The run of a plan on workers that take what comes at their speed."""
    settings = ScalingSettings.model_validate(dict(plan.scaling))
    one_s, holds = 2 / plan.seconds, 4
    waiting, sent, count, now_s, due_s = 0.0, 0.0, 1, 0.0, 0.0
    working: list[tuple[float, int]] = [(0.0, 1)]
    rates: list[tuple[float, float]] = []
    memory, decisions, samples = Memory(), [], []
    while not (sent >= plan.tasks and waiting == 0 and count == 1):
        assert now_s < 600, "it does not come back"
        coming = min(plan.rate * STEP_S, plan.tasks - sent)
        workers = next(number for at_s, number in reversed(working) if at_s <= now_s)
        done = min(workers * one_s * STEP_S, waiting + coming)
        sent, waiting, now_s = sent + coming, waiting + coming - done, now_s + STEP_S
        rates.append((now_s, done / STEP_S))
        samples.append([now_s, int(waiting), workers, None, None])
        if now_s >= due_s:
            due_s += settings.polling_interval_s
            old = next((rate for at_s, rate in reversed(rates) if at_s <= now_s - STALE_S), None)
            decision, memory = decide(settings, Sample(int(waiting), None, old), count, holds, memory, now_s)
            decisions.append({"time": "", "queue": "queue_a", **decision.as_json()})
            if decision.after != count:
                working.append((now_s + (START_S if decision.after > count else 0.0), decision.after))
            count = decision.after
    samples.append([now_s, 0, count, None, None])
    return {
        "plan": {"scaling": plan.scaling, "tasks": plan.tasks, "seconds": plan.seconds}, "over": "local",
        "sent": plan.tasks, "answered": plan.tasks, "lost": 0, "twice": 0, "problems": [],
        "samples": samples, "decisions": decisions,
    }  # fmt: skip


@pytest.mark.parametrize("most", [2, 6, 10])
def test_a_simulated_spike_is_followed_up_and_down(most: int) -> None:
    scaling = {"max_replica_count": most, "polling_interval_s": 2.0, "stabilization_window_s": 20.0}
    run = simulated(Plan(scaling=scaling))
    assert wrong(run) == []
    ups = [one["after"] for one in run["decisions"] if one["after"] > one["before"]]
    assert ups == sorted({min(most, 2**doubling) for doubling in range(1, 5)})


def test_a_run_that_went_wrong_is_reported() -> None:
    run = simulated(Plan())
    for key, value, problem in (
        ("lost", 1, "tasks were lost"),
        ("twice", 1, "tasks ran twice"),
        ("answered", 4999, "tasks failed"),
        ("samples", run["samples"][:-1], "it did not come back to one worker"),
    ):
        assert problem in wrong({**run, key: value})
