"""I set a delivery limit of 2. Why does my poison message go round for ever?

Asked in [amqplib #597](https://github.com/amqp-node/amqplib/issues/597), where a delivery limit is the answer
to "retry N times".

**Most pages say** "`x-delivery-limit` is the number of retries", or that it is the number of deliveries.

**What happens.** The limit counts *failed* deliveries, and what failed means depends on the version. Up to 4.2
whatever brings a message back counts. Since 4.3 `basic.nack` with requeue is a return and counts for nothing,
while `basic.reject` counts: the same program that was stopped after three deliveries goes round without end.
And a limit of 2 allows three deliveries: the first one and two more.

**Source.** [Poison message handling](https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling);
measured on 3.10.8, 4.0.5, 4.3.6.

**Our own code** counts attempts in a header of its own and retries by a new message, so the limit is only for
workers that die ([`attempt`](../../protocol/task.py)).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.lessons.kit import ByVersion, Lesson, Mutant

MUTANT = Mutant('"x-delivery-limit": 2', '"x-delivery-limit": 3', breaks=1)
DIFFERS = {2: ByVersion({"3.10": 3, "4.0": 3, "4.3": "more than 5"})}
NEXT = "test_11_prefetched_neighbours"


def test_what_counts_for_the_delivery_limit_depends_on_the_version(lesson: Lesson) -> None:
    worker = lesson.channel("worker", confirms=True)

    def deliveries(queue: str, settle: Callable[..., Any]) -> object:
        worker.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": 2})
        worker.basic_publish("", queue, b"poison")
        for count in range(6):
            method, _, _ = worker.basic_get(queue)
            if method is None:
                return count
            settle(method.delivery_tag, requeue=True)
        return "more than 5"

    count = deliveries("rejected", worker.basic_reject)
    lesson.claim(1, "Rejected again and again: after how many deliveries is it gone?", count, 3)
    count = deliveries("nacked", worker.basic_nack)
    lesson.claim(2, "Nacked again and again?", count, DIFFERS[2])
