"""What is said last is lost: acks, confirms, replies. What they were about comes again and is known by its id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from pika import frame, spec

from dispatcher.errors import NoReply, Overdue, UnknownTask
from protocol.names import DIRECT_REPLY_TO
from tests.support.ack_auditor import audit
from tests.support.acked import acked
from tests.support.distant import Distant
from tests.support.frames import Event
from tests.support.link import SILENT, Link
from tests.support.vhost import body, task
from tests.support.waiting import eventually

WINDOW = 40


@pytest.mark.timeout(60)
def test_when_acks_are_lost_the_redelivery_is_answered_from_memory(distant: Callable[..., Distant]) -> None:
    site = distant()
    worker = site.worker()

    def lose(event: Event, link: Link) -> None:
        if event.kind == "ack":
            link.to_broker.become(SILENT)

    site.workers.on_event = lose
    # As many as the worker takes without an ack: its prefetch.
    load = site.load(site.caller(), 4)
    eventually(lambda: len(load.ends) == 4, "the replies")
    eventually(lambda: len(acked(site.workers.log)) == 4, "the acks, which go nowhere")
    site.workers.on_event = None
    assert site.workers.reset("consume") == 1
    eventually(lambda: len(acked(site.workers.log)) == 8, "the acks of the redeliveries")
    verdict = site.verdict(load, worker)
    verdict.check()
    assert (verdict.duplicated, verdict.delivered_again) == (0, 4)
    assert [event.redelivered for event in site.workers.events("deliver", type="step")] == [False] * 4 + [True] * 4
    assert worker.lines("answered_again 4")
    assert no_channel_was_closed_by_the_broker(site)


@pytest.mark.timeout(60)
def test_what_ends_after_its_connection_is_not_acked_on_the_next_one(distant: Callable[..., Distant]) -> None:
    site = distant()
    worker, caller = site.worker(), site.caller()
    journal, gate = site.installation.journal(), site.installation.gate()
    asking = [caller.asking("hold", {"gate": str(gate), "journal": str(journal)}) for _ in range(4)]
    journal.wait(2)
    eventually(lambda: len(site.workers.events("deliver")) == 4, "the deliveries")
    site.workers.reset("consume")
    eventually(lambda: len(site.workers.events("deliver", redelivered=True)) == 4, "the redeliveries")
    gate.touch()
    assert [one.result(20).result for one in asking] == [1] * 4
    eventually(lambda: len(acked(site.workers.log)) == 4, "the acks")
    worker.sigterm()
    assert worker.wait(20) == 0
    assert Counter(journal.ids) == Counter(set(journal.ids))
    assert audit(site.workers.log) == []
    assert {event.connection for event in acked(site.workers.log)} == {site.workers.links[-1].number}
    assert no_channel_was_closed_by_the_broker(site)
    assert site.vhost.ready("queue_a") == 0


@pytest.mark.timeout(60)
def test_when_confirms_of_replies_are_lost_they_are_sent_again_before_any_ack(
    distant: Callable[..., Distant],
) -> None:
    site = distant()
    worker, caller = site.worker(), site.caller()

    def lose(event: Event, link: Link) -> None:
        if event.kind == "publish":
            link.to_client.become(SILENT)

    # The first reply to the dispatcher's address waits for the broker's answer before others follow.
    assert caller.ask("echo", {"value": 1}).result == 1
    eventually(lambda: len(acked(site.workers.log)) == 1, "the ack of the first")
    earlier = len(site.workers.events("ack")), len(site.workers.events("publish", exchange=""))
    site.workers.on_event = lose
    load = site.load(caller, WINDOW, window=WINDOW)
    eventually(lambda: len(load.ends) >= 4, "replies of which the worker does not know that they arrived")
    site.workers.on_event = None
    assert len(site.workers.events("ack")) == earlier[0]
    assert site.workers.reset("publish") == 1
    verdict = site.verdict(load, worker)
    verdict.check()
    sent = site.workers.events("publish", exchange="")[earlier[1] :]
    replies = Counter(task_id for event in sent for task_id in event.ids or (event.id,))
    twice = sum(count - 1 for count in replies.values())
    print(f"replies sent again {twice}, dropped by the dispatcher {caller.dispatcher.duplicates}")
    assert 1 <= twice <= 4
    assert caller.dispatcher.duplicates == twice
    assert verdict.duplicated == 0


@pytest.mark.timeout(60)
def test_when_confirms_of_tasks_are_lost_the_same_ids_are_sent_again(distant: Callable[..., Distant]) -> None:
    site = distant()
    worker, caller = site.worker(), site.caller()
    journal = site.installation.journal()
    # The first task to the exchange waits for the broker's answer before others follow.
    caller.ask("note", {"journal": str(site.installation.folder / "first")})

    def lose(event: Event, link: Link) -> None:
        if event.kind == "publish":
            link.to_client.become(SILENT)

    earlier = len(site.dispatchers.events("publish"))
    site.dispatchers.on_event = lose
    submitting = [caller.start(caller.dispatcher.submit("note", {"journal": str(journal)})) for _ in range(WINDOW)]
    journal.wait(WINDOW)
    assert not any(one.done() for one in submitting)
    site.dispatchers.on_event = None
    site.dispatchers.reset()
    ids = [one.result(20) for one in submitting]
    sent = Counter(event.id for event in site.dispatchers.events("publish")[earlier:])
    assert sent == Counter(dict.fromkeys(ids, 2))
    eventually(lambda: len(acked(site.workers.log)) == 2 * WINDOW + 1, "the acks of both copies")
    worker.sigterm()
    assert worker.wait(20) == 0
    print(f"submitted {WINDOW}, sent {sum(sent.values())}, run {len(journal.ids)}")
    assert Counter(journal.ids) == Counter(ids)
    assert audit(site.workers.log) == []
    assert site.vhost.ready("queue_a") == site.vhost.ready("queue_a.dead") == 0


@pytest.mark.timeout(60)
def test_a_resend_that_is_returned_does_not_deny_what_was_sent_first(distant: Callable[..., Distant]) -> None:
    site = distant()
    site.installation.declare()
    caller, vhost = site.caller(), site.vhost

    def lose(event: Event, link: Link) -> None:
        if event.kind == "publish":
            link.to_client.become(SILENT)

    site.dispatchers.on_event = lose
    submitting = caller.start(caller.dispatcher.submit("note", {"journal": "none"}, timeout_s=8))
    eventually(lambda: vhost.ready("queue_a") == 1, "the task in its queue")
    site.dispatchers.on_event = None
    with vhost.channel() as channel:
        channel.queue_unbind("queue_a", "tasks", "note")
    site.dispatchers.reset()
    eventually(lambda: site.dispatchers.events("return"), "the return of the resend")
    with pytest.raises(NoReply, match="not known"):
        submitting.result(20)
    assert vhost.ready("queue_a") == 1


@pytest.mark.timeout(60)
def test_an_unknown_task_that_was_asked_in_an_outage_is_reported_as_soon_as_that_is_over(
    distant: Callable[..., Distant], caplog: pytest.LogCaptureFixture
) -> None:
    site = distant()
    site.installation.declare()
    caller = site.caller()
    site.dispatchers.refuse()
    # What is asked in the turn in which the connection ends may have been sent by it: that is not known, ever.
    eventually(lambda: "dispatcher link down" in caplog.text, "that the dispatcher knows of the outage")
    asking = [caller.asking("nobody.does_this", timeout_s=30) for _ in range(WINDOW)]
    site.dispatchers.admit()
    for one in asking:
        with pytest.raises(UnknownTask):
            one.result(15)


@pytest.mark.timeout(60)
def test_a_submit_to_a_mailbox_keeps_its_deadline_on_a_silent_network(distant: Callable[..., Distant]) -> None:
    site = distant(broker={"heartbeat_s": 20})
    site.installation.declare()
    caller = site.caller()
    site.dispatchers.lose_answers()
    submitting = caller.start(caller.dispatcher.submit("note", {"journal": "none"}, mailbox="box", timeout_s=2))
    with pytest.raises(Overdue, match="nothing was sent"):
        submitting.result(10)
    site.dispatchers.cut()


@pytest.mark.timeout(60)
def test_a_reply_over_which_the_broker_closes_the_connection_is_dropped_alone_and_costs_nobody_another(
    distant: Callable[..., Distant],
) -> None:
    """RabbitMQ 3.10 and 4.0 did so (541) over addresses that no broker had made. Here the network says it."""
    site = distant()
    worker, caller, journal = site.worker(), site.caller(), site.installation.journal()
    strangers = [task("echo", reply_to=DIRECT_REPLY_TO) for _ in range(3)]
    guilty = {properties.message_id for properties in strangers}

    def close(event: Event, link: Link) -> None:
        if event.kind == "publish" and event.id in guilty:
            link.to_broker.become(SILENT)
            link.say(frame.Method(0, spec.Connection.Close(541, "INTERNAL_ERROR", 0, 0)).marshal())

    site.workers.on_event = close
    with site.vhost.channel() as channel:
        channel.basic_consume(DIRECT_REPLY_TO, lambda *_: None, auto_ack=True)
        honest_ones = []
        for number, properties in enumerate(strangers):
            channel.basic_publish("tasks", "echo", body(journal=str(journal)), properties)
            honest_ones += [caller.asking("echo", {"value": number}) for _ in range(5)]
        assert [one.result(30).result for one in honest_ones] == [number for number in range(3) for _ in range(5)]
        worker.wait_for("the reply was dropped", count=3)
    worker.sigterm()
    assert worker.wait(20) == 0
    assert sorted(journal.ids) == sorted(guilty)
    assert (site.vhost.ready("queue_a"), site.vhost.ready("queue_a.dead")) == (0, 0)


@pytest.mark.timeout(60)
def test_a_retry_that_waits_for_its_connection_is_given_up_when_its_delivery_comes_again(
    distant: Callable[..., Distant],
) -> None:
    site = distant()
    worker, caller = site.worker(), site.caller()
    journal, gate = site.installation.journal(), site.installation.gate()
    asking = caller.asking("hold_and_fail", {"journal": str(journal), "gate": str(gate)})
    journal.wait(1)
    # Nothing can be published: of the two links only the one that consumes is left.
    site.workers.welcome("refuse")
    site.workers.reset("publish")
    worker.wait_for("publish link down")
    gate.touch()
    worker.wait_for("attempt 1 raised")
    site.workers.reset("consume")
    worker.wait_for("consume link down")
    site.workers.welcome("pass")
    assert asking.result(30).result == 2
    worker.sigterm()
    assert worker.wait(20) == 0
    retries = [event for event in site.workers.events("publish") if event.exchange.startswith("tasks.delay.")]
    print(f"runs by attempt {Counter(entry['attempt'] for entry in journal.entries)}, retries {len(retries)}")
    assert len(retries) == 1
    assert Counter(entry["attempt"] for entry in journal.entries) == {1: 2, 2: 1}
    assert audit(site.workers.log) == []


def no_channel_was_closed_by_the_broker(site: Distant) -> bool:
    return not [event for kind in ("channel_close", "close") for event in site.workers.events(kind, by="broker")]
