"""A worker as process 1, as in a container without an init."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.support.installation import Install, Installation
from tests.support.processes import descendants, is_running
from tests.support.waiting import eventually
from tests.support.workers import WorkerProcess

pytestmark = pytest.mark.needs("unshare")

#: ``orphan`` leaves a program behind that ends when nobody waits for it any more.
HANDLERS = """
import os, subprocess

def orphan(count):
    for _ in range(count):
        subprocess.run(["sh", "-c", "sleep 0.2 &"], check=True)
    return os.getpid()

def codes(count):
    return {subprocess.run(["sh", "-c", "exit 3"]).returncode for _ in range(count)}.pop()
"""
TASKS = {
    "orphan": {"queue": "queue_a", "handler": "orphans:orphan"},
    "codes": {"queue": "queue_a", "handler": "orphans:codes", "executor": "thread"},
}
UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
COUNT = 20


@pytest.fixture
def installation(install: Install) -> Installation:
    installation = install(tasks=TASKS, defaults={"retry": {"max_retries": 0}})
    (installation.folder / "orphans.py").write_text(HANDLERS)
    return installation


@pytest.fixture
def first(installation: Installation) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts commands of the worker as process 1."""
    with contextlib.ExitStack() as stack:

        def start(*words: str) -> WorkerProcess:
            worker = WorkerProcess(words, installation.environment, before=UNSHARE)
            stack.callback(worker.stop)
            worker.wait_for("ready", 30)
            return worker

        yield start


@pytest.mark.parametrize("words", [("queue_a",), ("up", "queue_a=1")])
def test_what_its_handlers_leave_behind_is_waited_for_and_no_exit_code_is_lost(
    installation: Installation, first: Callable[..., WorkerProcess], words: tuple[str, ...]
) -> None:
    worker, caller = first(*words), installation.caller()
    # As that namespace counts its processes.
    assert caller.ask("orphan", {"count": COUNT}).result < 100
    assert caller.ask("codes", {"count": COUNT}).result == 3
    lost = caller.ask("crash").failure
    assert lost is not None
    assert "SIGKILL" in lost.text
    eventually(lambda: all(map(is_running, descendants(worker.pid))), "the end of all that are dead")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_it_lets_what_runs_finish(
    installation: Installation, first: Callable[..., WorkerProcess], number: signal.Signals
) -> None:
    worker, journal, gate = first("queue_a"), installation.journal(), installation.gate()
    asking = installation.caller().asking("hold", {"gate": str(gate), "journal": str(journal)})
    journal.wait()
    (one, *_) = descendants(worker.pid)
    os.kill(one, number)
    worker.wait_for("finishing what runs")
    gate.touch()
    assert asking.result(10).run.attempts == 1
    assert worker.wait() == 0


def test_it_ends_as_its_worker_does(installation: Installation, first: Callable[..., WorkerProcess]) -> None:
    worker = first("queue_a")
    one, *others = descendants(worker.pid)
    os.kill(others[0], signal.SIGKILL)
    assert worker.wait() == 128 + signal.SIGKILL
    eventually(lambda: not any(map(is_running, [one, *others])), "the end of all")
