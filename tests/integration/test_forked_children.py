"""``worker.start: fork``: children that share what their handlers import, and otherwise behave as any."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.installation import Install, Installation
from tests.support.processes import descendants, is_running
from tests.support.waiting import eventually
from tests.support.workers import WorkerProcess

pytestmark = pytest.mark.needs("/proc")

CHILDREN = 4
ONCE = {"retry": {"max_retries": 0}}
#: What a killed worker may leave behind for.
GONE_S = 2.0
HANDLERS = """
import os, random, time
from pathlib import Path

with Path(__file__).with_name("imports").open("a") as file:
    file.write("x")


def draw(gate):
    while not Path(gate).exists():
        time.sleep(0.01)
    return [os.getpid(), random.random()]
"""
HOLDERS = {
    "a thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
    "a socket": "import socket\nkept = socket.socket()",
    "an open file": "kept = open(__file__)",
    "a process": "import subprocess\nkept = subprocess.Popen(['sleep', '30'])",
    "an exit handler of holders": "import atexit\n\n@atexit.register\ndef end():\n    pass",
}


def forking(install: Install, source: str = HANDLERS, name: str = "drawers") -> Installation:
    tasks = {"draw": {"queue": "queue_a", "handler": f"{name}:draw"}}
    installation = install(worker={"start": "fork", "concurrency": CHILDREN}, tasks=tasks, defaults=ONCE)
    (installation.folder / f"{name}.py").write_text(source)
    return installation


def zygote_of(worker: WorkerProcess) -> int:
    """The one process that the worker itself has started."""
    (zygote,) = Path("/proc", str(worker.pid), "task", str(worker.pid), "children").read_text().split()
    return int(zygote)


def test_handlers_are_imported_once_and_each_child_has_randomness_of_its_own(install: Install) -> None:
    installation = forking(install)
    worker, gate = installation.worker(), installation.folder / "gate"
    asking = [installation.caller().asking("draw", {"gate": str(gate)}) for _ in range(CHILDREN)]
    gate.touch()
    drawn = [one.result(20).result for one in asking]
    assert (installation.folder / "imports").read_text() == "x"
    numbers = dict(drawn)
    assert len(set(numbers.values())) == len(numbers)
    assert set(numbers) <= set(descendants(zygote_of(worker)))


def test_children_that_are_forks_take_far_less_memory_than_fresh_interpreters(install: Install) -> None:
    """Measured: 19 MB with their zygote, and 39 MB."""
    forks = held_bytes(forking(install).worker())
    fresh = held_bytes(install(worker={"concurrency": CHILDREN}).worker())
    assert forks <= 0.6 * fresh


def held_bytes(worker: WorkerProcess) -> int:
    """The proportional set size of all that a worker has started."""
    rollups = [Path("/proc", str(pid), "smaps_rollup").read_text() for pid in descendants(worker.pid)]
    return sum(
        1024 * int(line.split()[1]) for text in rollups for line in text.splitlines() if line.startswith("Pss:")
    )


@pytest.mark.parametrize("task", ["bear_and_hold", "keep_the_lock"])
def test_a_worker_that_is_killed_leaves_nothing_behind(install: Install, task: str) -> None:
    installation = forking(install)
    worker, journal = installation.worker(), installation.journal()
    installation.caller().submit(task, {"journal": str(journal)})
    (entry,) = journal.wait()
    family = descendants(worker.pid)
    assert {entry["pid"], entry["grandchild"]} < set(family)
    assert len(family) == 1 + CHILDREN + 1
    worker.sigkill()
    worker.wait()
    eventually(lambda: not any(map(is_running, family)), "the end of all", GONE_S)


def test_a_zygote_that_is_killed_is_replaced_with_its_children_and_no_task_is_charged(install: Install) -> None:
    installation = forking(install)
    worker, caller = installation.worker(), installation.caller()
    gate, journal = installation.gate(), installation.journal()
    asking = [caller.asking("hold", {"gate": str(gate), "journal": str(journal)}) for _ in range(CHILDREN)]
    journal.wait(CHILDREN)
    before = descendants(worker.pid)
    os.kill(zygote_of(worker), signal.SIGKILL)
    eventually(lambda: not any(map(is_running, before)), "the end of its children", GONE_S)
    gate.touch()
    replies = [one.result(30) for one in asking]
    assert [(reply.result, reply.run.attempts, reply.failure) for reply in replies] == [(1, 1, None)] * CHILDREN
    eventually(lambda: len(descendants(worker.pid)) == 1 + CHILDREN, "a zygote and all children again")
    assert not worker.lines("link down")


def test_a_child_that_crashes_costs_its_own_task_and_is_replaced(install: Install) -> None:
    installation = forking(install)
    worker, caller, journal = installation.worker(), installation.caller(), installation.journal()
    crashing = caller.asking("crash", {"journal": str(journal)})
    others = [caller.asking("note", {"journal": str(journal)}) for _ in range(20)]
    failure = crashing.result(20).failure
    assert failure is not None
    assert "ended by SIGKILL" in failure.text or "ended with exit code" in failure.text
    assert [one.result(20).result for one in others] == [1] * 20
    eventually(lambda: len(descendants(worker.pid)) == 1 + CHILDREN, "all children again")


def test_a_stop_that_reaches_all_processes_lets_what_runs_finish(install: Install) -> None:
    installation = forking(install)
    worker, journal, gate = installation.worker(), installation.journal(), installation.gate()
    asking = installation.caller().asking("hold", {"gate": str(gate), "journal": str(journal)})
    journal.wait()
    for pid in sorted([*descendants(worker.pid), worker.pid], reverse=True):
        os.kill(pid, signal.SIGTERM)
    worker.wait_for("finishing what runs")
    gate.touch()
    reply = asking.result(10)
    assert (reply.result, reply.run.attempts, worker.wait()) == (1, 1, 0)


@pytest.mark.parametrize("held", HOLDERS)
def test_handlers_whose_module_holds_what_no_fork_can_share_get_fresh_interpreters(
    install: Install, held: str
) -> None:
    installation = forking(install, HOLDERS[held] + "\n\n\ndef draw():\n    return 1\n", name="holders")
    worker = installation.worker()
    assert installation.caller().ask("draw").result == 1
    (line,) = worker.lines("children are fresh interpreters")
    assert f"holders holds {held} after its import" in line
    assert len(descendants(worker.pid)) in (CHILDREN, 2 * CHILDREN)


def test_a_handler_that_cannot_be_imported_is_named_once(install: Install) -> None:
    installation = forking(install, "import nothing_of_that_name\n")
    worker = installation.worker(ready=False)
    assert worker.wait(20) == 78
    assert len(worker.lines("handler 'drawers:draw' cannot be loaded")) == 1
