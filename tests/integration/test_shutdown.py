"""Stopping: what runs is finished, what has not started goes back, and nothing runs twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tests.support.installation import Install, Installation
from tests.support.processes import is_running
from tests.support.slowness import in_time
from tests.support.vhost import body, task
from tests.support.waiting import eventually
from tests.support.workers import ROOT
from worker.stops import SAME_S


@pytest.mark.every_broker(long=True)
def test_sigterm_finishes_what_runs_and_gives_back_what_was_prefetched(install: Install) -> None:
    installation = install(worker={"concurrency": 1})
    worker, caller, vhost = installation.worker(), installation.caller(), installation.vhost
    journal, gate = installation.journal(), installation.gate()
    running = caller.asking("hold", {"gate": str(gate), "journal": str(journal)})
    journal.wait()
    waiting = [task("note") for _ in range(2)]
    for properties in waiting:
        vhost.publish("tasks", "note", body(journal=str(journal)), properties)
    eventually(lambda: vhost.ready("queue_a") == 0, "the prefetch of two more")

    worker.sigterm()
    eventually(lambda: vhost.ready("queue_a") == 2, "the return of what was prefetched")
    assert worker.is_alive
    gate.touch()
    assert worker.wait() == 0
    assert running.result(5).result == 1
    assert len(journal.entries) == 1

    installation.worker()
    journal.wait(3)
    assert sorted(journal.ids) == sorted([running.result().id, *(one.message_id for one in waiting)])


@pytest.mark.every_broker(long=True)
def test_a_second_sigterm_stops_at_once_and_gives_everything_back(install: Install) -> None:
    installation = install(worker={"concurrency": 1})
    worker, caller, vhost = installation.worker(), installation.caller(), installation.vhost
    journal, gate = installation.journal(), installation.gate()
    caller.submit("hold", {"gate": str(gate), "journal": str(journal)})
    (entry,) = journal.wait()
    caller.submit("note")

    worker.sigterm()
    worker.wait_for("SIGTERM: finishing")
    # What comes at once is the first one once more.
    time.sleep(SAME_S)
    worker.sigterm()
    started_s = time.monotonic()
    assert worker.wait() == 0
    assert in_time(time.monotonic() - started_s, 2)
    eventually(lambda: vhost.ready("queue_a") == 2, "the return of both tasks")
    assert not is_running(entry["pid"])


def test_what_does_not_end_within_the_grace_goes_back(install: Install) -> None:
    installation = install(worker={"grace_s": 0.5})
    worker = installation.worker()
    journal, gate = installation.journal(), installation.gate()
    asking = installation.caller().asking("hold", {"gate": str(gate), "journal": str(journal)})
    journal.wait()
    worker.sigterm()
    assert worker.wait() == 0
    gate.touch()
    installation.worker()
    assert asking.result(10).result == 1
    assert len(journal.entries) == 2


def test_heartbeats_go_on_while_a_worker_finishes(install: Install) -> None:
    installation = install(broker={"heartbeat_s": 1})
    worker = installation.worker()
    journal, gate = installation.journal(), installation.gate()
    asking = installation.caller().asking("hold", {"gate": str(gate), "journal": str(journal)})
    (entry,) = journal.wait()
    worker.sigterm()
    eventually(lambda: time.time() - entry["at"] > 4, "more than two heartbeats")
    gate.touch()
    assert asking.result(10).result == 1
    assert worker.wait() == 0
    assert not worker.lines("link down")


def test_an_idle_worker_stops_quickly_and_leaves_no_child(installation: Installation) -> None:
    worker = installation.worker("queue_a", "queue_b")
    journal = installation.journal()
    installation.caller().ask("note", {"journal": str(journal)})
    worker.sigterm()
    started_s = time.monotonic()
    assert worker.wait() == 0
    assert in_time(time.monotonic() - started_s, 2)
    assert not is_running(journal.entries[0]["pid"])


def test_a_worker_that_is_told_to_stop_while_there_is_no_broker_stops(installation: Installation) -> None:
    nowhere = "amqp://guest:guest@127.0.0.1:9/"
    worker = installation.worker(ready=False, BROKER_URL=nowhere)
    worker.wait_for("link down", count=2)
    worker.sigterm()
    assert worker.wait(5) == 0


def test_a_stop_while_handlers_are_being_imported_is_obeyed(install: Install) -> None:
    installation = install(tasks={"late": {"queue": "queue_a", "handler": "late:work"}})
    started = installation.gate()
    source = f"import pathlib, time\npathlib.Path({str(started)!r}).touch()\ntime.sleep(60)\ndef work(): pass\n"
    (installation.folder / "late.py").write_text(source)
    worker = installation.worker(ready=False)
    eventually(started.exists, "the import")
    worker.sigterm()
    assert worker.wait(8) == 0
    assert worker.lines(" ready: ") == []


def test_a_stop_at_any_moment_of_a_start_is_obeyed(installation: Installation) -> None:
    """Before Python has read the first line of ours the signal ends it by itself."""
    for moment in range(12):
        worker = installation.worker(ready=False, BROKER_URL="amqp://guest:guest@127.0.0.1:9/")
        time.sleep(0.04 * moment)
        worker.sigterm()
        assert worker.wait(8) in (0, -signal.SIGTERM), f"{0.04 * moment:g} s after it was started"


TOLD_AT_THE_LAST_MOMENT = """
import os, signal
from worker import command
from worker.__main__ import main

load = command._worker

def loaded():
    kind = load()
    os.kill(os.getpid(), signal.SIGTERM)
    return kind

command._worker = loaded
main(["queue_a"])
"""


def test_a_stop_that_comes_together_with_the_end_of_the_imports_is_obeyed(installation: Installation) -> None:
    environment = {**installation.environment, "BROKER_URL": "amqp://guest:guest@127.0.0.1:9/"}
    for _ in range(3):
        ended = subprocess.run(
            [sys.executable, "-c", TOLD_AT_THE_LAST_MOMENT], cwd=ROOT, env=environment, timeout=20, check=False
        )
        assert ended.returncode == 0
