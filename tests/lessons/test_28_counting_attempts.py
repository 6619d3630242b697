"""How often was this message tried? Three headers count, and none agrees.

Asked in [rabbitmq-server #10709](https://github.com/rabbitmq/rabbitmq-server/issues/10709), [rascal
#125](https://github.com/onebeyond/rascal/issues/125) and [streadway/amqp
#422](https://github.com/streadway/amqp/issues/422).

**Most pages say** "read `x-death[0].count`", or "read `x-delivery-count`".

**What happens.** `x-delivery-count` counts what a quorum queue calls failed deliveries: any return up to 4.2,
rejects and crashes since 4.3, which counts every acquisition in `x-acquired-count` beside it. Both are the
queue's own and begin again in another queue. `x-death` counts the ways out of queues, one entry for each queue
and reason; a retry that publishes a new message with the old headers goes on counting on 3.10 and begins anew on
4.0 and later. Only a header of the program's own means the same on all of them.

**Source.** [Quorum queues](https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling), [dead letter
effects](https://www.rabbitmq.com/docs/dlx#effects), release notes of 4.0; measured on 3.10.8, 4.0.5, 4.3.6.

**Our own code** counts in a header of its own ([`attempt`](../../protocol/task.py)).
"""

from __future__ import annotations

from typing import Any

from pika import BasicProperties

from tests.lessons.kit import ByVersion, Lesson, Mutant

MUTANT = Mutant('| {"attempt": 2}', '| {"attempts": 2}', breaks=4)
DIFFERS = {1: ByVersion({"3.10": [2, 0], "4.3": [1, 2]}), 3: ByVersion({"3.10": 2, "4.0": 1})}
NEXT = "test_29_twice"


def test_what_a_counter_counts_depends_on_the_version_unless_it_is_ones_own(lesson: Lesson) -> None:
    worker = lesson.channel("worker", confirms=True)
    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    for queue, further in (("queue_a", dead), ("dead", {})):
        worker.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"} | further)
    worker.basic_publish("", "queue_a", b"1", BasicProperties(headers={"attempt": 1}))

    for settle in (worker.basic_reject, worker.basic_nack):
        settle(worker.basic_get("queue_a")[0].delivery_tag, requeue=True)
    method, properties, _ = worker.basic_get("queue_a")
    counts = [int(properties.headers.get(f"x-{what}-count", 0)) for what in ("delivery", "acquired")]
    lesson.claim(1, "Rejected once, nacked once: x-delivery-count and x-acquired-count?", counts, DIFFERS[1])

    def die(delivery_tag: int) -> Any:
        worker.basic_reject(delivery_tag, requeue=False)
        lesson.wait(lambda: lesson.ready("dead") == 1)
        return worker.basic_get("dead", auto_ack=True)[1].headers

    headers = die(method.delivery_tag)
    lesson.claim(2, "It dies. What says x-death?", int(headers["x-death"][0]["count"]), 1)

    worker.basic_publish("", "queue_a", b"1", BasicProperties(headers=headers | {"attempt": 2}))
    headers = die(worker.basic_get("queue_a")[0].delivery_tag)
    lesson.claim(
        3,
        "Published again with these headers, it dies again. And now?",
        int(headers["x-death"][0]["count"]),
        DIFFERS[3],
    )
    lesson.claim(4, "And what says the header of its own?", headers.get("attempt"), 2)
