"""The benchmark runs, and its page can be made of what it writes. How fast anything is, no test decides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.benchmarks.contestants import BARE, OURS, PEER, Contestant
from tests.benchmarks.page import DOCS, PAGE, filled, read
from tests.benchmarks.place import Place, place
from tests.benchmarks.processes import Process
from tests.support.brokers import Broker
from tests.support.peers import prepare
from tests.support.workers import ROOT

_WITHIN_S = 60.0


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.own_broker
def test_a_short_run_measures_ours_and_bare_pika_and_fills_the_page(broker: Broker, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    short = ("--rounds", "1", "--seconds", "0.05", "--calls", "3", "--section", "halves", "--json", str(path))
    run = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *short, "--only", "bare", "--only", "thread"],
        cwd=ROOT,
        env=_environment(broker),
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    figures = read(path)
    assert [one.contestant for one in figures.rates] == ["bare", "thread"]
    assert all(one.tasks_per_s.median > 0 for one in figures.rates)
    assert {one.contestant for one in figures.halves} == {"bare", "thread"}
    assert len(json.loads(path.read_text())["raw"]["loads"][0]["calls_ms"]) == 3
    page = filled((DOCS / PAGE).read_text(), figures)
    assert f"| thread | {figures.rates[1].tasks_per_s.median:,.0f} |" in page
    assert not [one for one in broker.management.get("vhosts") if one["name"].startswith("bench-")]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_peer_and_every_executor_answers(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare()
    for name, value in _environment(broker).items():
        monkeypatch.setenv(name, value)
    contestants = [BARE, *OURS, *PEER]
    with place(tmp_path, contestants) as where:
        for one in contestants:
            _check(one, where)


def _check(one: Contestant, where: Place) -> None:
    environment = where.environment_of(one)
    with Process(one.worker, environment) as worker, Process(one.requester, environment) as requester:
        worker.wait_ready(one.ready)
        requester.wait_ready()
        assert len(requester.ask(_WITHIN_S, do="many", tasks=30, window=10)) == 1
        assert not one.calls or len(requester.ask(_WITHIN_S, do="calls", tasks=3)) == 3
        assert not (one.calls and one.paces) or len(requester.ask(_WITHIN_S, do="paced", tasks=3, rate=50)) == 3
        assert not one.sends or len(requester.ask(_WITHIN_S, do="send", tasks=30, window=10)) == 1


def _environment(broker: Broker) -> Mapping[str, str]:
    return {
        **os.environ,
        "BROKER_URL": broker.url(),
        "GLASSRABBIT__BROKER__MANAGEMENT_URL": broker.management.url,
    }
