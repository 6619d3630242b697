"""``python -m dispatcher load`` on a broker: its latencies, its counts, its page."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from dispatcher.load_test.plan import Part, Plan
from dispatcher.load_test.run import run_load
from tests.integration.test_readme import assert_printed, run_block
from tests.support.commands import Ended, command
from tests.support.installation import Install, Installation
from tests.support.pages import block_with, section
from tests.support.vhost import Vhost
from tests.support.waiting import run
from tests.support.workers import ROOT, WorkerProcess, environment

STALL_S = 2.0


def load(installation: Installation, *words: str, **further: str) -> Ended:
    return command({**installation.environment, **further}, "dispatcher", "load", *words)


@pytest.mark.long
@pytest.mark.alone
def test_latencies_are_those_of_an_independent_timer(installation: Installation) -> None:
    """One after the other, so another process may slow down either of them: once in three they have to agree."""
    installation.worker()
    apart = []
    for _ in range(3):
        timed, seen = _timed(installation), _seen(installation)
        apart.append([abs(ours / theirs - 1) for ours, theirs in zip(seen, timed, strict=True)])
        if max(apart[-1]) <= 0.05:
            return
    raise AssertionError(f"apart by {apart}")


PERCENTS = (50, 75, 95)


def _timed(installation: Installation) -> list[float]:
    """Percentiles of single calls, in milliseconds."""
    caller = installation.caller()
    timed = []
    for _ in range(20):
        started_s = time.perf_counter()
        caller.ask("task_a")
        timed.append((time.perf_counter() - started_s) * 1000)
    timed.sort()
    return [timed[math.ceil(percent / 100 * len(timed)) - 1] for percent in PERCENTS]


def _seen(installation: Installation) -> list[float]:
    ended = load(installation, "--rate", "15", "-n", "30", "--task", "task_a", "-o", "json")
    seen = json.loads(ended.out)
    assert (ended.code, seen["tasks"]["done"]) == (0, 30)
    return [seen["latency_ms"][f"p{percent}"] for percent in PERCENTS]


@pytest.mark.alone
def test_a_worker_that_stands_still_shows_in_the_percentiles(installation: Installation) -> None:
    worker = installation.worker()
    plan = Plan(
        parts=(Part("echo", 1),),
        arguments={},
        count=None,
        duration_s=4.0,
        rate=50.0,
        window=20_000,
        batch=None,
        timeout_s=30.0,
        collect="async",
        failing=0.0,
        failing_with={},
    )
    lines: list[str] = []
    stopped_s: list[float] = []

    def report(line: str) -> None:
        lines.append(line)
        if len(lines) == 1:
            os.kill(worker.pid, signal.SIGSTOP)
            stopped_s.append(time.monotonic())
        elif stopped_s and time.monotonic() - stopped_s[0] > STALL_S - 0.1 and len(stopped_s) == 1:
            os.kill(worker.pid, signal.SIGCONT)
            stopped_s.append(time.monotonic())

    try:
        seen = run(run_load(installation.settings, plan, report))
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    stall_ms = (stopped_s[1] - stopped_s[0]) * 1000
    latency = seen["latency_ms"]
    # Half of the tasks were due in the stall: the wait of each is what was left of it.
    assert latency["max"] >= 0.95 * stall_ms
    assert latency["p95"] >= 0.8 * stall_ms
    assert latency["p75"] >= 0.35 * stall_ms
    assert (seen["tasks"]["sent"], seen["tasks"]["done"], seen["tasks"]["lost"]) == (200, 200, 0)
    assert "in progress" in lines[0]


def test_each_way_to_collect_counts_every_task_and_thresholds_decide(install: Install, tmp_path: Path) -> None:
    installation = install()
    installation.worker("queue_a", "queue_b")
    runs: dict[str, Any] = {}
    for way in ("sequential", "threads", "async", "batch"):
        out = tmp_path / f"{way}.json"
        words = (
            "--task",
            "task_a=3",
            "--task",
            "task_b",
            "-a",
            "seconds=0",
            "--failing",
            "0.25",
            "--out",
            str(out),
        )
        batch = ("--batch", "5") if way == "batch" else ()
        ended = load(installation, "-n", "40", "--collect", way, *batch, *words, "--threshold", "failed<=10")
        assert (ended.code, "threshold failed<=10: held (10)" in ended.err) == (0, True), ended.err
        runs[way] = json.loads(out.read_text())
    for seen in runs.values():
        assert [seen["tasks"][key] for key in ("sent", "done", "failed", "lost")] == [40, 30, 10, 0]
        assert seen["errors"] == {"rejected": 10}
        assert sum(seen["workers"].values()) == 40
        assert sum(seen["ends_a_second"]) == 40
    assert runs["batch"]["messages"]["accepted"] < 40 == runs["async"]["messages"]["accepted"]

    retried = (
        "--task",
        "task_a",
        "--json",
        '{"seconds": 0}',
        "--failing",
        "1",
        "--failing-with",
        '{"fail_times": 1}',
    )
    ended = load(installation, "-n", "2", *retried, "--threshold", "p50<1ms", "-o", "json")
    assert ended.code == 1
    assert "threshold p50<1ms: missed" in ended.err
    tasks = json.loads(ended.out)["tasks"]
    assert (tasks["done"], tasks["retried"], tasks["retries"]) == (2, 2, 2)

    compared = load(installation, "compare", *(str(tmp_path / f"{way}.json") for way in runs))
    assert (compared.code, compared.err) == (0, "")
    assert all(f"{way}.json" in compared.out for way in runs)


def test_tasks_without_a_queue_a_worker_or_a_sensible_option_have_their_exit_codes(
    installation: Installation,
) -> None:
    assert load(installation, "-n", "1", "--task", "nobody").code == 4
    lost = load(installation, "-n", "2", "--task", "echo", "--timeout", "0.3", "-o", "json")
    assert (lost.code, json.loads(lost.out)["tasks"]["lost"]) == (75, 2)
    for words in (["--threshold", "p95"], ["--task", "a=b"], ["--json", "["], ["--rate", "1", "--window", "1"]):
        refused = load(installation, *words)
        assert (refused.code, refused.out) == (2, "")
    assert load(installation, "compare", str(installation.config)).code == 2


def test_the_load_section_is_as_the_page_shows(vhost: Vhost, tmp_path: Path) -> None:
    block = block_with(section("docs/scaling.md", "Load"), "console", "dispatcher load")
    worker = WorkerProcess(["queue_a", "queue_b"], environment(ROOT / "config.yml", vhost.url))
    try:
        worker.wait_ready()
        assert_printed(block, run_block(block, tmp_path, BROKER_URL=vhost.url))
    finally:
        worker.stop()
