"""The life of one message, as ``broker watch`` shows it: the same on RabbitMQ 3.10, 4.0 and 4.3."""

from __future__ import annotations

import json
import time

import pytest

from protocol.names import new_id
from tests.integration.test_batches import publish_batch
from tests.support.installation import Install, Installation
from tests.support.steering import CONTROL
from tests.support.vhost import body, task
from tests.support.watched import lives, watching

pytestmark = pytest.mark.every_broker(long=True)

CAME = """\
published, requester → tasks: key {0} (header)
confirmed, tasks → requester: unknown (unknown, at an unknown time)
routed, tasks → queue_a (header, at an unknown time)
waited, queue_a: … s (header)
delivered, queue_a → worker 1: tag {1}, attempt 1 (worker)
runs, worker 1 (worker)
"""
ANSWERED = """\
published, worker 1 → amq.default: reply: {0} (worker)
confirmed, amq.default → worker 1 (worker)
"""
DONE = "done, ran … s"
ACKED = "acked, worker 1 → queue_a: tag {0} (worker)\n"
BURIED = """\
published, worker 1 → tasks.dead: dead letter of queue_a: rejected: {0} (worker)
confirmed, tasks.dead → worker 1 (worker)
"""
COPIED = """\
published, worker 1 → tasks.delay.01: copy: attempt {0}, due in 0.3 s \
(0.2 s in tasks.delay.01 + 0.1 s in tasks.delay.00); RuntimeError: attempt {1} fails (worker)
confirmed, tasks.delay.01 → worker 1 (worker)
acked, worker 1 → queue_a: tag {3} (worker)
routed, tasks.due → queue_a (header, at an unknown time)
waited, queue_a: … s (header)
delivered, queue_a → worker 1: tag {2}, attempt {0} (worker)
runs, worker 1 (worker)
"""
TAPPED = """\
published, requester → tasks: key fail (tap)
waits, queue_a: 1 ready, 0 consumers (count)
waits, tasks.delay.01: 0.2 s (tap)
waits, tasks.delay.00: 0.1 s (tap)
"""
KILLED = """\
delivered, queue_a → worker 2: tag 1, attempt 1, redelivered: worker 1 had it before (worker)
runs, worker 2 (worker)
published, worker 2 → amq.default: reply: done, ran … s (worker)
confirmed, amq.default → worker 2 (worker)
acked, worker 2 → queue_a: tag 1 (worker)
"""
EXPIRED = """\
dead_letter, queue_a → queue_a.dead: by the broker: expired (header, at an unknown time)
delivered, tasks.obituaries → worker 1: tag 1 (worker)
published, worker 1 → replies: reply: expired: no worker took it before it expired (worker)
confirmed, replies → worker 1 (worker)
acked, worker 1 → tasks.obituaries: tag 1 (worker)
"""


@pytest.fixture
def steered(install: Install) -> Installation:
    retry = {"max_retries": 2, "backoff_s": [0.3], "jitter": 0}
    return install(control=CONTROL, mailboxes=["results"], defaults={"retry": retry})


def test_a_task_is_seen_from_its_publish_to_its_ack_with_its_retries_or_its_dead_letter(
    steered: Installation,
) -> None:
    steered.worker()
    with watching(steered, "--next", "3") as watch:
        caller = steered.caller()
        assert caller.ask("note").failure is None
        assert caller.ask("fail", {"times": 2}).failure is None
        assert caller.ask("reject").failure is not None
        well, retried, dead = lives(watch.wait())
    assert well == CAME.format("note", 1) + ANSWERED.format(DONE) + ACKED.format(1)
    copies = COPIED.format(2, 1, 3, 2) + COPIED.format(3, 2, 4, 3)
    assert retried == CAME.format("fail", 2) + copies + ANSWERED.format(DONE) + ACKED.format(4)
    ended = BURIED.format("no") + ANSWERED.format("rejected: no") + ACKED.format(5)
    assert dead == CAME.format("reject", 5) + ended


def test_a_tap_sees_what_waits_and_lets_nothing_be_lost_that_was_not_bound(steered: Installation) -> None:
    steered.declare()
    with steered.vhost.channel() as channel:
        channel.queue_unbind("queue_a", "tasks", "fail")
    with watching(steered, "--task", "fail", "--next", "--tap") as watch:
        asked = steered.caller().asking("fail", {"times": 1})
        watch.says(" ready, ")
        steered.worker()
        assert asked.result(20).failure is None
        [life] = lives(watch.wait())
    assert [line for line in life.splitlines() if "(tap" in line or "(count" in line] == TAPPED.splitlines()
    assert "published, requester → tasks: key fail (header)" not in life
    assert life.endswith(ACKED.format(2))


def test_of_a_redelivered_task_it_is_known_which_worker_had_it_before(steered: Installation) -> None:
    workers = {worker.pid: worker for worker in (steered.worker(), steered.worker())}
    gate, caller = steered.gate(), steered.caller()
    with watching(steered, "--next") as watch:
        asked = caller.asking("hold", {"gate": str(gate)})
        watch.says('"step": "runs"')
        holder = next(step["to"] for step in map(json.loads, watch.lines(5)) if step["step"] == "delivered")
        workers[int(holder.rpartition(":")[2])].sigkill()
        watch.says("redelivered")
        gate.touch()
        assert asked.result(10).failure is None
        assert lives(watch.wait()) == [CAME.format("hold", 1) + KILLED]


def test_of_an_expired_task_the_end_is_told_by_its_obituary(steered: Installation) -> None:
    steered.worker("queue_b")
    task_id = new_id()
    with watching(steered, task_id) as watch:
        properties = task("note", task_id=task_id, reply_to="mailbox.results", expiration="1")
        steered.vhost.publish("tasks", "note", body(), properties)
        assert lives(watch.wait()) == [EXPIRED]


def test_the_tasks_of_a_batch_have_a_life_of_their_own(steered: Installation) -> None:
    steered.worker()
    given = [{"seconds": 0}, {"seconds": 0, "reject": True}, {"seconds": 0}]
    with watching(steered, "--next", "3") as watch:
        publish_batch(steered.vhost, "task_a", given, sent_at=time.time_ns() // 1_000_000)
        well, rejected, again = lives(watch.wait())
    answered = ANSWERED.replace("amq.default", "replies")
    came, no = CAME.format("task_a", 1), "told to reject"
    assert well == again == came + answered.format(DONE) + ACKED.format(1)
    assert rejected == came + BURIED.format(no) + answered.format(f"rejected: {no}") + ACKED.format(1)
