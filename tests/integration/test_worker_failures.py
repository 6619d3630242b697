"""Whatever a handler does, it ends in an error code of its own, and nobody else notices."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.installation import Install, Installation
from tests.support.processes import is_running
from tests.support.waiting import eventually

#: Task → the code that it ends with.
CODES = {
    "crash": "worker_lost",
    "leave": "retries_exhausted",
    "loop": "timed_out",
    "raise_unspeakable": "retries_exhausted",
    "opaque": "result_not_encodable",
    "huge": "result_too_large",
    "reject": "rejected",
}
RETRIED = {"worker_lost", "timed_out", "retries_exhausted"}


@pytest.mark.every_broker
def test_each_way_to_fail_has_its_code_and_disturbs_no_other_task(install: Install) -> None:
    installation = install(broker={"heartbeat_s": 4}, defaults={"retry": {"max_retries": 1, "backoff_s": [0.1]}})
    worker = installation.worker()
    connections = installation.vhost.connection_names()
    assert len(connections) == 2
    caller = installation.caller()
    others = [caller.asking("echo", {"value": number}) for number in range(10)]
    failing = {name: caller.asking(name) for name in CODES}
    others += [caller.asking("echo", {"value": number}) for number in range(10, 20)]

    replies = {name: asking.result(30) for name, asking in failing.items()}
    assert {name: reply.failure and reply.failure.code for name, reply in replies.items()} == CODES
    assert {name: reply.run.attempts for name, reply in replies.items()} == {
        name: 2 if code in RETRIED else 1 for name, code in CODES.items()
    }
    assert [other.result(30).result for other in others] == list(range(20))
    letters = installation.vhost.read_dead("queue_a", len(CODES))
    assert {letter.properties.type: letter.reason.code for letter in letters} == CODES
    assert installation.vhost.connection_names() == connections
    assert not worker.lines("link down")


def test_a_handler_that_hogs_the_processor_costs_no_heartbeat(install: Install) -> None:
    installation = install(
        broker={"heartbeat_s": 2},
        defaults={"retry": {"max_retries": 0}},
        tasks={"loop": {"timeout_s": 6.5}},
    )
    worker = installation.worker()
    connections = installation.vhost.connection_names()
    assert len(connections) == 2
    caller = installation.caller()
    loops = [caller.asking("loop") for _ in range(2)]
    assert {loop.result(30).failure.code for loop in loops} == {"timed_out"}  # type: ignore[union-attr]
    assert installation.vhost.connection_names() == connections
    assert not worker.lines("link down")


def test_the_time_limit_also_ends_what_the_handler_has_started(install: Install) -> None:
    installation = install(defaults={"retry": {"max_retries": 0}}, tasks={"bear_and_hold": {"timeout_s": 1.0}})
    installation.worker()
    journal = installation.journal()
    reply = installation.caller().ask("bear_and_hold", {"journal": str(journal)})
    assert reply.failure is not None
    assert reply.failure.code == "timed_out"
    (entry,) = journal.entries
    eventually(lambda: not is_running(entry["pid"]) and not is_running(entry["grandchild"]), "the end of both")


def test_no_child_or_grandchild_outlives_a_worker_that_is_killed(installation: Installation) -> None:
    worker = installation.worker()
    journal = installation.journal()
    installation.caller().submit("bear_and_hold", {"journal": str(journal)})
    (entry,) = journal.wait()
    assert is_running(entry["pid"])
    assert is_running(entry["grandchild"])
    worker.sigkill()
    worker.wait()
    eventually(lambda: not is_running(entry["pid"]) and not is_running(entry["grandchild"]), "the end of both")


def test_a_task_of_a_killed_worker_is_done_by_the_next_one(installation: Installation) -> None:
    first = installation.worker()
    journal, gate = installation.journal(), installation.gate()
    asking = installation.caller().asking("hold", {"gate": str(gate), "journal": str(journal)})
    journal.wait()
    first.sigkill()
    gate.touch()
    second = installation.worker()
    reply = asking.result(20)
    assert reply.result == 1
    assert reply.run.worker.endswith(f":{second.pid}")


def test_a_crash_is_noticed_although_a_fork_of_the_handler_lives_on(install: Install) -> None:
    installation = install(defaults={"retry": {"max_retries": 0}})
    installation.worker()
    journal = installation.journal()
    asking = installation.caller().asking("fork_and_crash", {"journal": str(journal)}, timeout_s=10)
    (entry,) = journal.wait()
    try:
        failure = asking.result(15).failure
        assert failure is not None
        assert failure.code == "worker_lost"
        eventually(lambda: not is_running(entry["grandchild"]), "the end of the fork")
    finally:
        if is_running(entry["grandchild"]):
            os.kill(entry["grandchild"], signal.SIGKILL)
