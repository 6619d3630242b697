"""Consume two queues, also after the broker has cancelled one of the consumers.

Somebody deletes `queue_b`, which cancels its consumer, and publishes to it again once it is there. `consume` sets
up the consumers and returns; the connection processes its events afterwards.

As it stands, nothing fails and nothing ends: `queue_a` is served as before, `queue_b` never again, and
claim 2 fails.

Hints:
- The broker's `basic.cancel` (lesson 14) names the consumer's tag. `add_on_cancel_callback` takes a function,
  whose argument has the tag as `.method.consumer_tag`.
- The queue is gone when the cancel comes. Declare it as it was, as everybody who uses it does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel

from tests.exercises.exercise import Unsolved
from tests.lessons.kit import Lesson

QUORUM = {"x-queue-type": "quorum"}
Handle = Callable[[BlockingChannel, Any, Any, bytes], None]
UNSOLVED = Unsolved(claim=2, saw=[b"a", b"a again"])


def consume(channel: BlockingChannel, queues: list[str], handle: Handle) -> None:
    for queue in queues:
        channel.queue_declare(queue, durable=True, arguments=QUORUM)
        channel.basic_consume(queue, handle)


def check(lesson: Lesson, consume: Callable[[BlockingChannel, list[str], Handle], None]) -> None:
    worker, operator, got = lesson.channel("worker"), lesson.channel("operator", confirms=True), list[bytes]()

    def handle(channel: BlockingChannel, method: Any, _: object, body: bytes) -> None:
        got.append(body)
        channel.basic_ack(method.delivery_tag)

    consume(worker, ["queue_a", "queue_b"], handle)
    operator.basic_publish("", "queue_a", b"a")
    lesson.wait(lambda: len(got) == 1, worker)
    lesson.claim(1, "Before: what does the worker get?", got, [b"a"])
    operator.queue_delete("queue_b")
    lesson.wait(lambda: bool(lesson.vhost.exists("queue_b")), worker, within_s=2)
    operator.queue_declare("queue_b", durable=True, arguments=QUORUM)
    for queue, body in (("queue_b", b"b again"), ("queue_a", b"a again")):
        operator.basic_publish("", queue, body)
    lesson.wait(lambda: len(got) == 3, worker, within_s=3)
    lesson.claim(2, "After: what has it got?", sorted(got), [b"a", b"a again", b"b again"])
