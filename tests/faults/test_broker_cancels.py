"""The broker takes a consumer or its deliveries away: the worker makes it anew, and nothing is done twice."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from dispatcher.errors import NoReply
from tests.support.brokers import Broker
from tests.support.idle import finish
from tests.support.installation import Install
from tests.support.patience import consumers_decide, wait_until_taken_back
from tests.support.waiting import eventually

PREFETCH = 4
RECOVERY_S = 10.0
#: How long a delivery may stay unacked, in the test.
ACK_TIMEOUT_S = 5
#: The gate is opened after so many timeouts.
ROUNDS = 2


def test_of_a_deleted_queue_only_what_lay_in_it_is_gone(install: Install) -> None:
    """RabbitMQ deletes what is in a queue. What a worker held is done and answered; the rest ends as unknown."""
    installation = install(worker={"concurrency": 2}, queues={"queue_a": {"prefetch": PREFETCH}})
    worker, caller, vhost = installation.worker(), installation.caller(), installation.vhost
    journal, gate = installation.journal(), installation.gate()
    asked = [caller.asking("hold", {"gate": str(gate), "journal": str(journal)}, timeout_s=6) for _ in range(10)]
    eventually(lambda: vhost.ready("queue_a") == 10 - PREFETCH, "the prefetch")
    journal.wait(2)
    with vhost.channel() as channel:
        channel.queue_delete("queue_a")
    deleted_s = time.monotonic()
    worker.wait_for("consume link up again")
    recovered_s = time.monotonic() - deleted_s
    gate.touch()
    assert caller.ask("note", timeout_s=10).result == 1
    ends = [asking.exception(20) for asking in asked]
    assert finish(vhost, worker) == 0
    unknown = [end for end in ends if isinstance(end, NoReply)]
    duplicated = len(journal.ids) - len(set(journal.ids))
    print(f"consuming again after {recovered_s:.1f} s; answered {ends.count(None)}, unknown {len(unknown)}")
    assert (ends.count(None), len(unknown), duplicated) == (PREFETCH, 10 - PREFETCH, 0)
    assert recovered_s < RECOVERY_S
    assert vhost.ready("queue_a.dead") == 0


@pytest.mark.own_broker
@pytest.mark.every_broker(long=True)
@pytest.mark.timeout(90)
def test_a_task_that_outlasts_the_acknowledgement_timeout_is_run_once_and_answered_once(
    broker: Broker, install: Install
) -> None:
    """Before RabbitMQ 4.3 the broker takes it back and delivers it again: to the same worker here, where that
    delivery joins the run (to another worker, and it is run again). Each time counts as a return, so a task that
    lasts for ``delivery_limit`` timeouts is buried; a worker does not start with a ``timeout_s`` beyond what the
    broker allows. From 4.3 on the worker has asked for half an hour, whatever the broker's own timeout is."""
    rounds = 0 if consumers_decide(broker) else ROUNDS
    with ack_timeout(broker):
        installation = install(worker={"concurrency": 2}, queues={"queue_a": {"prefetch": PREFETCH}})
        worker, caller, vhost = installation.worker(), installation.caller(), installation.vhost
        journal, gate = installation.journal(), installation.gate()
        asking = caller.asking("hold", {"gate": str(gate), "journal": str(journal)}, timeout_s=60)
        journal.wait()
        if not rounds:
            caller.submit("note_b")
            wait_until_taken_back(vhost, "queue_b")
        worker.wait_for("consume link up again", within_s=40, count=rounds)
        # Alive, connected and consuming: others are done meanwhile.
        assert caller.ask("note", timeout_s=10).result == 1
        gate.touch()
        reply = asking.result(20)
        assert (reply.result, len(journal.entries)) == (1, 1)
        assert finish(vhost, worker) == 0
    print("\n".join(worker.lines("link down")))
    assert rounds <= len(worker.lines("consume link down")) <= rounds + bool(rounds)
    assert not worker.lines("publish link")
    assert (vhost.ready("queue_a.dead"), caller.dispatcher.duplicates) == (0, 0)


@contextlib.contextmanager
def ack_timeout(broker: Broker) -> Iterator[None]:
    """A broker with a short acknowledgement timeout; channels read it when they are opened."""
    names = ("consumer_timeout", "channel_tick_interval")
    before = {
        name: broker.ctl("eval", f"application:get_env(rabbit, {name}, undefined).").strip() for name in names
    }
    shown = dict(zip(names, (ACK_TIMEOUT_S * 1000, 1000), strict=True))
    try:
        for name, value in shown.items():
            broker.ctl("eval", f"application:set_env(rabbit, {name}, {value}).")
        yield
    finally:
        for name, usual in before.items():
            broker.ctl("eval", f"application:set_env(rabbit, {name}, {usual}).")
