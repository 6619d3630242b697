"""What an operator has one worker do: take no tasks for a while, stop, log more."""

from __future__ import annotations

import json
import os
import signal
import socket
import time

import pytest

from protocol.control import Do, Order
from protocol.names import new_id
from tests.support.commands import command
from tests.support.health import Health
from tests.support.installation import Install
from tests.support.steering import CONTROL, name_of, say, steer
from tests.support.waiting import eventually

HTTP = {"concurrency": 1, "http": {"enabled": True, "port": 0}}


@pytest.mark.every_broker(long=True)
def test_a_drained_worker_finishes_what_runs_and_takes_nothing_until_it_is_resumed(install: Install) -> None:
    installation = install(control=CONTROL, worker=HTTP, queues={"queue_a": {"prefetch": 5}})
    journal, gate, caller = installation.journal(), installation.gate(), installation.caller()
    worker = installation.worker()
    asked = [caller.asking("hold", {"gate": str(gate), "journal": str(journal)}, timeout_s=60) for _ in range(3)]
    journal.wait(1)
    name = name_of(worker)
    [row] = json.loads(steer(installation, "drain", name, "-o", "json").out)
    assert row == {"worker": name, "order": "drain", "running": 1}
    eventually(lambda: installation.vhost.ready("queue_a") == 2, "what it has not begun to go back")
    code, text = Health(worker).get("/readyz")
    assert (code, "drained by " in text, f"until `resume {name}`" in text) == (503, True, True)
    gate.touch()
    assert asked[0].result(10).failure is None
    # Before RabbitMQ 4.3 a consumer that was cancelled counts as long as it has something unacked.
    eventually(lambda: installation.vhost.consumers("queue_a") == 0, "the end of its consumer")
    assert (worker.is_alive, len(journal.ids)) == (True, 1)
    steer(installation, "resume", name)
    assert [one.result(10).failure for one in asked] == [None] * 3
    assert Health(worker).get("/readyz")[0] == 200


def test_a_worker_that_is_drained_to_exit_stops_once_it_has_finished_whatever_that_takes(install: Install) -> None:
    installation = install(control=CONTROL, worker={"concurrency": 1, "grace_s": 0.5})
    journal, gate, caller = installation.journal(), installation.gate(), installation.caller()
    worker, other = installation.worker(), installation.worker("queue_b")
    asked = caller.asking("hold", {"gate": str(gate), "journal": str(journal)}, timeout_s=60)
    journal.wait(1)
    steer(installation, "drain", "--exit", name_of(worker))
    worker.wait_for("not ready: drained by ")
    assert worker.is_alive
    gate.touch()
    assert asked.result(10).failure is None
    assert worker.wait() == 0
    assert other.is_alive
    assert not other.lines("drained")


def test_a_worker_does_not_obey_what_was_said_to_an_earlier_one_of_its_name(install: Install) -> None:
    installation = install(control=CONTROL)
    installation.declare()
    worker = installation.worker(ready=False)
    os.kill(worker.pid, signal.SIGSTOP)
    now_ms = time.time_ns() // 1_000_000
    name = f"{socket.gethostname()}:{worker.pid}"
    say(installation.vhost, Order(id=new_id(), by="ann", at=now_ms, written=now_ms, worker=name, do=Do.EXIT))
    os.kill(worker.pid, signal.SIGCONT)
    worker.wait_ready()
    assert name_of(worker) == name
    assert installation.caller().ask("note").failure is None
    assert not worker.lines("drained")


def test_a_worker_that_is_not_there_is_said_not_to_answer(install: Install) -> None:
    installation = install(control=CONTROL)
    name = f"{name_of(installation.worker())}0"
    ended = command(installation.environment, "broker", "drain", name)
    assert (ended.code, f"no answer from {name}" in ended.err) == (75, True)


def test_a_worker_logs_more_for_a_while_and_then_as_before(install: Install) -> None:
    installation = install(control=CONTROL)
    worker, caller = installation.worker(), installation.caller()
    caller.ask("note")
    steer(installation, "log-level", name_of(worker), "debug", "--for", "2")
    worker.wait_for("log level debug for 2 s, by ")
    done = caller.ask("note")
    worker.wait_for(done.id)
    worker.wait_for("log level info again")
    count = len(worker.lines("note"))
    caller.ask("note")
    caller.ask("note")
    assert len(worker.lines("note")) == count == 1
