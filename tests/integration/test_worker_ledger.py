"""A worker remembers what runs and what it has finished: a message that comes twice is done once."""

from __future__ import annotations

import time

from tests.support.installation import Install
from tests.support.vhost import body, task
from tests.support.waiting import eventually


def test_a_task_that_comes_again_while_it_runs_is_done_once_and_every_delivery_is_acked(install: Install) -> None:
    installation = install(mailboxes=["results"])
    worker, vhost = installation.worker(), installation.vhost
    journal, gate = installation.journal(), installation.gate()
    content = body(gate=str(gate), journal=str(journal))
    properties = task("hold", reply_to="mailbox.results")
    for _ in range(3):
        vhost.publish("tasks", "hold", content, properties)
    eventually(lambda: vhost.ready("queue_a") == 0, "the delivery of all three")
    gate.touch()
    (reply,) = vhost.messages("mailbox.results")
    assert reply.properties.correlation_id == properties.message_id
    worker.sigterm()
    assert worker.wait() == 0
    assert worker.lines("joined 2")
    assert len(journal.entries) == 1
    assert (vhost.ready("queue_a"), vhost.ready("mailbox.results")) == (0, 0)


def test_a_task_that_comes_again_after_its_end_is_answered_in_the_same_words(install: Install) -> None:
    installation = install(mailboxes=["results"])
    installation.worker()
    vhost, journal = installation.vhost, installation.journal()
    properties = task("note", reply_to="mailbox.results")
    for _ in range(2):
        vhost.publish("tasks", "note", body(journal=str(journal)), properties)
        (reply,) = vhost.messages("mailbox.results")
        assert reply.value["id"] == properties.message_id
    assert len(journal.entries) == 1


def test_a_task_that_failed_for_good_is_not_run_again_either(install: Install) -> None:
    installation = install(mailboxes=["results"])
    installation.worker()
    vhost, journal = installation.vhost, installation.journal()
    properties = task("reject", reply_to="mailbox.results")
    for _ in range(2):
        vhost.publish("tasks", "reject", body(journal=str(journal)), properties)
        (reply,) = vhost.messages("mailbox.results")
        assert reply.value["error"]["code"] == "rejected"
    assert len(journal.entries) == len(vhost.read_dead("queue_a")) == 1
    assert vhost.ready("queue_a.dead") == 0


def test_a_replay_is_run(install: Install) -> None:
    installation = install(mailboxes=["results"])
    installation.worker()
    vhost, journal = installation.vhost, installation.journal()
    for replay in (0, 1):
        properties = task("note", task_id="0" * 32, reply_to="mailbox.results", headers={"v": 1, "replay": replay})
        vhost.publish("tasks", "note", body(journal=str(journal)), properties)
        vhost.messages("mailbox.results")
    assert len(journal.entries) == 2


def test_a_task_that_comes_after_its_time_is_buried_and_not_run(install: Install) -> None:
    installation = install()
    installation.worker()
    vhost, journal = installation.vhost, installation.journal()
    past_ms = round(time.time() * 1000) - 10_000
    vhost.publish("tasks", "note", body(journal=str(journal)), task(headers={"v": 1, "expires_at": past_ms}))
    (letter,) = vhost.read_dead("queue_a")
    assert (letter.reason.code, journal.entries) == ("expired", [])


def test_a_dead_letter_that_nobody_takes_keeps_its_task_until_somebody_does(install: Install) -> None:
    installation = install()
    worker, vhost, caller = installation.worker(), installation.vhost, installation.caller()
    with vhost.channel() as channel:
        channel.queue_unbind("queue_a.dead", "tasks.dead", "queue_a")
    asking = caller.asking("reject")
    worker.wait_for("not accepted, the delivery stays unacked")
    assert caller.ask("note").result == 1
    assert not asking.done()
    with vhost.channel() as channel:
        channel.queue_bind("queue_a.dead", "tasks.dead", "queue_a")
    failure = asking.result(10).failure
    assert failure is not None
    assert failure.code == "rejected"
    assert [letter.reason.code for letter in vhost.read_dead("queue_a")] == ["rejected"]
