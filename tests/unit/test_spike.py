"""A spike, simulated; and the two of docs/workers.md: what their data, pictures and page say."""

from __future__ import annotations

import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from broker.config.scaling_settings import ScalingSettings
from dispatcher.load_test.compare import compare
from tests.spike.picture import draw, title
from tests.spike.run import Plan, text, wrong
from tests.support.pages import block_with, section
from tests.support.workers import ROOT
from worker.scaling.autoscale import Memory, Sample, decide

STEP_S = 0.1
#: Workers start slowly, and what the management API tells is old.
START_S, STALE_S = 2.0, 5.0
PAGE = (ROOT / "docs" / "workers.md").read_text()


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


def test_a_run_that_went_wrong_is_told() -> None:
    run = simulated(Plan())
    for key, value, told in (
        ("lost", 1, "tasks were lost"),
        ("twice", 1, "tasks ran twice"),
        ("answered", 4999, "tasks failed"),
        ("samples", run["samples"][:-1], "it did not come back to one worker"),
    ):
        assert told in wrong({**run, key: value})


@pytest.fixture(params=["local", "compose"])
def shown(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The data of a picture of the page."""
    path = ROOT / "docs" / f"spike-{request.param}.json"
    data: dict[str, Any] = json.loads(path.read_text())
    return data


def test_the_runs_of_the_page_lost_no_task_ran_none_twice_and_came_back(shown: dict[str, Any]) -> None:
    assert wrong(shown) == []
    assert (shown["plan"]["tasks"], shown["plan"]["seconds"]) == (5000, 0.05)


def test_the_page_shows_every_decision_of_its_runs(shown: dict[str, Any]) -> None:
    name = f"spike-{shown['over']}.svg"
    (block,) = re.findall(rf"\({re.escape(name)}\)\n\n((?:    .*\n)+)", PAGE)
    lines = [line.strip() for line in block.splitlines()]
    assert lines == [text(one) for one in shown["decisions"]]


def test_the_pictures_are_of_these_runs(shown: dict[str, Any], tmp_path: Path) -> None:
    drawn = (ROOT / "docs" / f"spike-{shown['over']}.svg").read_text()
    assert f">{title(shown)}</text>" in drawn
    if find_spec("matplotlib") is None:
        with pytest.raises(ModuleNotFoundError):
            draw(shown, tmp_path / "x.svg")
    else:
        draw(shown, tmp_path / "x.svg")
        assert f">{title(shown)}</text>" in (tmp_path / "x.svg").read_text()


def test_the_page_shows_what_load_said_before_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("before.json", "after.json"):
        shutil.copy(ROOT / "docs" / f"scale-{name}", name)
        assert f">{name}</text>" in (ROOT / "docs" / "scale-before-after.svg").read_text()
    compare(["before.json", "after.json"], "table", None)
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    block = block_with(section("docs/workers.md", "Containers"), "console", "load compare")
    shown = [" ".join(line.split()) for line in block.splitlines() if line.startswith("  ")]
    assert len(shown) == 5
    assert [line for line in shown if line not in printed] == []
