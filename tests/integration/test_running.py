"""What runs now, on which worker, asked of all of them at once."""

from __future__ import annotations

import json
import os
import signal

import pytest

from protocol.names import OBITUARIES
from tests.hands.test_deadlines import without_leader
from tests.support.commands import command
from tests.support.installation import Install
from tests.support.steering import CONTROL, steer


@pytest.mark.every_broker(long=True)
def test_running_shows_what_each_worker_runs_the_slowest_first(install: Install) -> None:
    installation = install(control=CONTROL, worker={"concurrency": 1})
    journal, gate, caller = installation.journal(), installation.gate(), installation.caller()
    workers = [installation.worker() for _ in range(2)]
    asked = []
    for count in (1, 2):
        asked.append(caller.asking("hold", {"gate": str(gate), "journal": str(journal)}))
        journal.wait(count)
    rows = json.loads(steer(installation, "running", "-o", "json").out)
    assert [row["id"] for row in rows] == journal.ids
    assert {int(row["worker"].rpartition(":")[2]) for row in rows} == {worker.pid for worker in workers}
    assert {(row["task"], row["queue"], row["attempt"], row["executor"]) for row in rows} == {
        ("hold", "queue_a", 1, "process")
    }
    assert json.loads(steer(installation, "running", "-o", "json", "--task", "note").out) == []
    assert json.loads(steer(installation, "running", "-o", "json", "--older-than", "600").out) == []
    gate.touch()
    assert [one.result(10).failure for one in asked] == [None, None]
    assert json.loads(steer(installation, "running", "-o", "json").out) == []


@pytest.mark.every_broker(long=True)
def test_running_answers_though_a_worker_is_frozen_and_names_it(install: Install) -> None:
    installation = install(control=CONTROL)
    gone, frozen, well = (installation.worker() for _ in range(3))
    gone.sigterm()
    assert gone.wait() == 0
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        ended = command(installation.environment, "broker", "running")
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    assert ended.code == 75
    assert f":{frozen.pid}: what it runs is unknown" in ended.err
    assert f":{well.pid}" not in ended.err
    assert f":{gone.pid}" not in ended.err


def test_a_worker_that_is_not_steered_is_said_to_be_missing(install: Install) -> None:
    installation = install(control=CONTROL)
    installation.declare()
    installation.worker(GLASSRABBIT__CONTROL__ENABLED="false")
    ended = command(installation.environment, "broker", "running")
    assert (ended.code, "not steered" in ended.err) == (75, True)


@pytest.mark.own_broker
def test_workers_that_nobody_can_count_are_unknown_and_not_none(install: Install) -> None:
    """A passive declare of a queue without a leader answers 0, as of one without consumers."""
    installation = install(control=CONTROL)
    worker = installation.worker()
    with without_leader(installation.vhost, OBITUARIES):
        paused = command(installation.environment, "broker", "pause", "queue_b")
        ended = command(installation.environment, "broker", "running")
    assert (paused.code, "write it again is unknown" in paused.err) == (0, True), paused
    assert (ended.code, "how many workers there are is unknown" in ended.err) == (75, True), ended
    assert worker.is_alive
