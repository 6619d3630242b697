"""How long a worker may hold a task unacked: what it asks for, and what that is worth on each version."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.installation import Install
from tests.support.patience import consumers_decide, wait_until_taken_back
from tests.support.vhost import Vhost
from tests.support.waiting import eventually

#: The least that a task is held for in the test, on brokers that look at once.
IMPATIENT_MS = 1000
#: Longer than RabbitMQ waits by itself.
LONG: dict[str, Any] = {"tasks": {"note": {"timeout_s": 3000}}}
LISTED_S = 30.0


@pytest.mark.every_broker(long=True)
def test_every_consumer_of_a_worker_asks_for_the_time_that_it_needs(install: Install, vhost: Vhost) -> None:
    installation = install(tasks={"note": {"timeout_s": 1400}})
    installation.worker()

    def asked() -> dict[str, Any]:
        consumers = vhost.broker.management.get("consumers", vhost.name)
        return {one["queue"]["name"]: one["arguments"].get("x-consumer-timeout") for one in consumers}

    # 300 s of waiting and 1400 s are less than the broker's own 30 min.
    expected = {"queue_a": 1_800_000, "tasks.obituaries": 1_800_000}
    eventually(lambda: asked() == expected, "the consumers to be listed", LISTED_S)


@pytest.mark.every_broker(long=True)
def test_a_worker_with_tasks_that_the_broker_would_take_back_starts_only_where_it_is_let(
    install: Install, vhost: Vhost
) -> None:
    installation = install(**LONG)
    if consumers_decide(vhost.broker):
        installation.worker()
    else:
        worker = installation.worker(ready=False)
        assert worker.wait() == 78
        assert (
            f"note can wait 300 s and take 3000 s, and RabbitMQ {vhost.broker.version} takes a task back"
            in worker.log
        )
        assert "Traceback" not in worker.log
        assert not vhost.exists("queue_a")
    install(**LONG, broker={"consumer_timeout_s": 7200}).worker()


@pytest.mark.every_broker(long=True)
def test_a_task_that_takes_longer_than_a_policy_allows_runs_once_where_the_worker_may_ask(
    install: Install, vhost: Vhost
) -> None:
    installation = install()
    installation.declare()
    if consumers_decide(vhost.broker):
        body = {"pattern": "^queue_", "definition": {"consumer-timeout": IMPATIENT_MS}, "apply-to": "queues"}
        vhost.broker.management.request("PUT", "policies", vhost.name, "impatient", body=body)
    installation.worker()
    caller, journal, gate = installation.caller(), installation.journal(), installation.gate()
    reply = caller.asking("hold", {"gate": str(gate), "journal": str(journal)}, timeout_s=60)
    journal.wait(1)
    if consumers_decide(vhost.broker):
        caller.submit("note_b")
        wait_until_taken_back(vhost, "queue_b")
    gate.touch()
    assert reply.result(60).result == 1
    caller.ask("note", {"journal": str(journal)})
    assert len(journal.ids) == 2
