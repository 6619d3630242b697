"""A task that the broker itself buried: its caller is told by any worker that is alive, and the letter is kept."""

from __future__ import annotations

import time

import pytest

from protocol.delay import due_key
from protocol.names import DUE, LOST, OBITUARIES
from tests.support.installation import Install, Installation
from tests.support.slowness import in_time
from tests.support.vhost import Vhost, body, task
from tests.support.waiting import eventually


@pytest.mark.every_broker(long=True)
def test_the_caller_of_a_task_that_expired_in_its_queue_gets_its_failure_from_a_worker_of_another_queue(
    installation: Installation,
) -> None:
    installation.worker("queue_b")
    started_s = time.monotonic()
    reply = installation.caller().ask("echo", expires_s=0.5)
    assert reply.failure is not None
    assert reply.failure.code == "expired"
    assert in_time(time.monotonic() - started_s, 4)
    (letter,) = installation.vhost.read_dead("queue_a")
    assert (letter.reason.code, letter.properties.message_id) == ("expired", reply.id)
    _nothing_is_left(installation.vhost)


@pytest.mark.every_broker(long=True)
def test_the_caller_of_a_task_over_its_delivery_limit_gets_its_failure(install: Install) -> None:
    installation = install(queues={"queue_a": {"delivery_limit": 2}})
    installation.worker("queue_b")
    vhost = installation.vhost
    asking = installation.caller().asking("echo", {"value": "poison"})
    eventually(lambda: vhost.ready("queue_a") == 1, "the task in its queue")
    for _ in range(3):
        eventually(lambda: _takes_and_dies(vhost), "one more delivery")
    reply = asking.result(10)
    assert reply.failure is not None
    assert reply.failure.code == "delivery_limit"
    (letter,) = vhost.read_dead("queue_a")
    assert (letter.reason.code, letter.properties.message_id) == ("delivery_limit", reply.id)
    assert letter.value == {"value": "poison"}
    _nothing_is_left(vhost)


@pytest.mark.every_broker(long=True)
def test_delayed_tasks_that_nothing_is_bound_for_when_due_are_reported_and_hold_up_nobody(
    installation: Installation,
) -> None:
    installation.worker("queue_b")
    vhost, caller = installation.vhost, installation.caller()
    lost = [caller.asking("note", delay_s=1.5) for _ in range(100)]
    started_s = time.monotonic()
    other = caller.asking("note_b", delay_s=1.5)
    with vhost.channel() as channel:
        channel.queue_unbind("queue_a", DUE, due_key("note"))

    assert other.result(10).result == 1
    assert in_time(time.monotonic() - started_s, 1.5 + 1.5)
    failures = [asking.result(10).failure for asking in lost]
    assert {failure and failure.code for failure in failures} == {"unknown_task"}
    letters = vhost.messages(LOST, 100)
    assert {letter.reason.code for letter in letters} == {"unknown_task"}
    assert {letter.properties.message_id for letter in letters} == {asking.result().id for asking in lost}


def test_an_obituary_waits_until_there_is_a_worker(installation: Installation) -> None:
    installation.declare()
    asking = installation.caller().asking("echo", expires_s=0.2)
    eventually(lambda: installation.vhost.ready(OBITUARIES) == 1, "the obituary")
    assert not asking.done()
    installation.worker("queue_b")
    failure = asking.result(10).failure
    assert failure is not None
    assert failure.code == "expired"


def _takes_and_dies(vhost: Vhost) -> bool:
    """Be handed the message and drop the connection, as a worker that crashes does."""
    with vhost.connection() as connection:
        method, _, _ = connection.channel().basic_get("queue_a")
        return method is not None


def _nothing_is_left(vhost: Vhost) -> None:
    assert vhost.ready("queue_a") == vhost.ready("queue_a.dead") == vhost.ready(OBITUARIES) == 0


def test_an_obituary_whose_mailbox_is_gone_ends_and_blocks_nobody(installation: Installation) -> None:
    installation.declare()
    vhost = installation.vhost
    for _ in range(25):
        lost = task("echo", reply_to="mailbox.gone")
        vhost.publish(LOST, "", body(), lost)
    installation.worker("queue_b")
    caller = installation.caller()
    eventually(lambda: vhost.ready(OBITUARIES) == 0, "the end of all obituaries", 20)
    reply = caller.ask("echo", expires_s=0.3)
    assert reply.failure is not None
    assert reply.failure.code == "expired"
