"""Workers as supervisors, terminals and administrators end them: by which signal, and to whom it is sent."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from protocol.reply import Reply
from tests.support.installation import Install, Installation
from tests.support.processes import descendants, is_running
from tests.support.terminal import Terminal
from tests.support.waiting import eventually
from tests.support.workers import WorkerProcess

#: What a killed worker may leave behind for.
GONE_S = 2.0
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: One attempt each: a task that is cut off and charged for it is dead.
ONCE = {"retry": {"max_retries": 0}}


@pytest.mark.parametrize("task", ["bear_and_hold", "keep_the_lock"])
def test_a_worker_that_is_killed_leaves_nothing_behind_whatever_its_children_do(
    installation: Installation, task: str
) -> None:
    worker, journal = installation.worker(), installation.journal()
    installation.caller().submit(task, {"journal": str(journal)})
    (entry,) = journal.wait()
    family = descendants(worker.pid)
    # Two children, and what one of them started.
    assert {entry["pid"], entry["grandchild"]} < set(family)
    assert len(family) == 3
    worker.sigkill()
    worker.wait()
    eventually(lambda: not any(map(is_running, family)), "the end of all", GONE_S)


def to_all(worker: WorkerProcess, number: signal.Signals) -> None:
    """As systemd does it: to each process of the unit, in no order."""
    for pid in sorted([*descendants(worker.pid), worker.pid], reverse=True):
        os.kill(pid, number)


def to_its_group(worker: WorkerProcess, number: signal.Signals) -> None:
    """As supervisord does it with ``stopasgroup``."""
    os.killpg(worker.pid, number)


def to_it_and_its_group(worker: WorkerProcess, number: signal.Signals) -> None:
    """As ``timeout`` of the coreutils does it."""
    os.kill(worker.pid, number)
    os.killpg(worker.pid, number)


def to_all_and_hung_up(worker: WorkerProcess, number: signal.Signals) -> None:
    """As systemd does it with ``SendSIGHUP=yes``."""
    to_all(worker, number)
    to_all(worker, signal.SIGHUP)


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("send", [to_all, to_its_group, to_it_and_its_group, to_all_and_hung_up])
def test_a_stop_that_reaches_the_children_too_lets_what_runs_finish(
    install: Install, send: Callable[[WorkerProcess, signal.Signals], None], number: signal.Signals
) -> None:
    installation = install(defaults=ONCE)
    worker = installation.worker()
    asking, gate = held(installation)
    send(worker, number)
    worker.wait_for("finishing what runs")
    # The children have heard it by now, in whatever order.
    time.sleep(0.2)
    gate.touch()
    reply = asking.result(10)
    assert (reply.result, reply.run.attempts, worker.wait()) == (1, 1, 0)
    assert not worker.lines("Traceback")


@pytest.mark.parametrize("lose", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_is_lost_while_its_worker_stops_costs_its_task_no_attempt(
    install: Install, lose: signal.Signals
) -> None:
    installation = install(defaults=ONCE)
    worker = installation.worker()
    asking, gate = held(installation)
    worker.sigterm()
    worker.wait_for("finishing what runs")
    for child in descendants(worker.pid):
        os.kill(child, lose)
    assert worker.wait() == 0
    assert installation.vhost.ready("queue_a") == 1
    gate.touch()
    installation.worker()
    reply = asking.result(20)
    assert (reply.result, reply.run.attempts) == (1, 1)


def test_what_a_handler_starts_hears_signals_as_usual(install: Install) -> None:
    handlers = """
import multiprocessing, signal, subprocess, time

def program():
    process = subprocess.Popen(["sleep", "30"])
    process.terminate()
    return process.wait()

def fork():
    codes = set()
    for _ in range(20):
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=[30])
        process.start()
        process.terminate()
        process.join()
        codes.add(process.exitcode)
    return sum(codes)
"""
    tasks = {
        name: {"queue": "queue_a", "handler": f"starters:{name}", "timeout_s": 5.0} for name in ("program", "fork")
    }
    installation = install(tasks=tasks, defaults=ONCE)
    (installation.folder / "starters.py").write_text(handlers)
    installation.worker()
    caller = installation.caller()
    assert [caller.ask(name).result for name in tasks] == [-signal.SIGTERM] * 2


def test_a_stop_of_everything_at_any_moment_of_a_start_is_obeyed_and_reported_without_a_traceback(
    installation: Installation,
) -> None:
    for moment in range(15):
        worker = installation.worker(ready=False)
        time.sleep(0.05 * moment)
        to_all(worker, signal.SIGTERM)
        assert worker.wait(10) in (0, -signal.SIGTERM), worker.log
        assert not worker.lines("Traceback"), worker.log
        assert not worker.lines("retrieved"), worker.log


#: What a person starts.
COMMANDS = ["python -m worker queue_a", "python -m worker up queue_a=1"]


@pytest.fixture(params=COMMANDS)
def command(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_control_c_in_a_terminal_lets_what_runs_finish(install: Install, command: str) -> None:
    installation = install(defaults=ONCE)
    with Terminal(command, installation.environment) as terminal:
        terminal.wait_for("ready")
        asking, gate = held(installation)
        terminal.interrupt()
        terminal.wait_for("SIGINT: ")
        gate.touch()
        assert asking.result(10).run.attempts == 1
        terminal.wait_for("exit code 0")


def test_the_end_of_a_terminal_lets_what_runs_finish_and_leaves_nothing_behind(
    install: Install, command: str
) -> None:
    installation = install(defaults=ONCE)
    with Terminal(command, installation.environment) as terminal:
        terminal.wait_for("ready")
        asking, gate = held(installation)
        family = descendants(terminal.pid)
        terminal.close()
        caller, vhost = installation.caller(), installation.vhost
        eventually(lambda: caller.submit("note") and vhost.ready("queue_a"), "the end of consuming")
        assert not asking.done()
        gate.touch()
        assert asking.result(10).run.attempts == 1
        eventually(lambda: not any(map(is_running, family)), "the end of all", 10)


def test_under_nohup_they_outlive_their_terminal(install: Install, command: str) -> None:
    installation = install(defaults=ONCE)
    log = installation.folder / "log"
    with Terminal(f"nohup {command} > {log} 2>&1", installation.environment) as terminal:
        eventually(lambda: log.exists() and " ready: " in log.read_text(), "a worker", 30)
        (first, *family) = descendants(terminal.pid)
        terminal.close()
        eventually(lambda: not is_running(terminal.pid), "the end of the shell")
        assert installation.caller().ask("echo", {"value": 1}).result == 1
        assert is_running(first)
        os.kill(first, signal.SIGTERM)
        eventually(lambda: not any(map(is_running, [first, *family])), "the end of all", 15)


def held(installation: Installation) -> tuple[Future[Reply], Path]:
    """A task that runs until its gate is there."""
    journal, gate = installation.journal(), installation.gate()
    asking = installation.caller().asking("hold", {"gate": str(gate), "journal": str(journal)})
    journal.wait()
    return asking, gate
