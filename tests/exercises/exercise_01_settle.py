"""Settle a delivery by what became of its task.

The outcome is "done", "refused" (the message shall become a dead letter) or "again" (it shall wait in its queue
again). Settle the delivery by one method of AMQP.

As it stands, everything is acked, which is what `auto_ack` does: a refused task is gone, and claim 2 fails.

Hints:
- AMQP has `basic.ack` and `basic.reject`; RabbitMQ adds `basic.nack` (lesson 1).
- Whether a rejected message dies or waits again is decided by `requeue` (lessons 5 and 12).
"""

from __future__ import annotations

from collections.abc import Callable

from pika.adapters.blocking_connection import BlockingChannel

from tests.exercises.exercise import Unsolved
from tests.lessons.kit import Lesson

UNSOLVED = Unsolved(claim=2, saw=0)


def settle(channel: BlockingChannel, delivery_tag: int, outcome: str) -> None:
    channel.basic_ack(delivery_tag)


def check(lesson: Lesson, settle: Callable[[BlockingChannel, int, str], None]) -> None:
    worker = lesson.channel("worker", confirms=True)
    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "queue_a.dead"}
    for queue, further in (("queue_a", dead), ("queue_a.dead", {})):
        worker.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"} | further)

    def ends(outcome: str) -> None:
        worker.basic_publish("", "queue_a", outcome.encode())
        settle(worker, worker.basic_get("queue_a")[0].delivery_tag, outcome)

    ends("done")
    settled = [one for one in lesson.said("worker") if one in ("basic.ack", "basic.nack", "basic.reject")]
    lesson.claim(1, "It is done. By which methods is it settled?", settled, ["basic.ack"])
    ends("refused")
    lesson.wait(lambda: lesson.ready("queue_a.dead") == 1, within_s=3)
    lesson.claim(2, "It is refused. How many dead letters are there?", lesson.ready("queue_a.dead"), 1)
    ends("again")
    lesson.wait(lambda: lesson.ready("queue_a") == 1, within_s=3)
    lesson.claim(3, "It shall be tried again. How many wait in the queue?", lesson.ready("queue_a"), 1)
