"""RabbitMQ 4.3 can delay retries itself. Do I still need queues with a TTL?

Asked since 4.3 came out; before, as "retry N times with a delay" ([amqplib
#597](https://github.com/amqp-node/amqplib/issues/597)).

**Most pages say** nothing of it yet; those for older brokers build a retry from a TTL and a dead letter
exchange.

**What happens.** A quorum queue of 4.3 with `x-delayed-retry-type` and `x-delayed-retry-min` holds back what a
consumer gives up, before it is delivered again. With type `failed` a `basic.reject` is delayed and a
`basic.nack` is not; with `all` both are. Older brokers accept the same arguments and do nothing. What waits is
not counted by a passive declaration. A delay for each *message*, as a task's schedule needs, it does not offer.

**Source.** [Delayed retry](https://www.rabbitmq.com/docs/quorum-queues); measured on 3.10.8, 4.0.5, 4.3.6.

**Our own code** has its delay line (lesson 6), which is the same on all versions, counts attempts itself and
can delay a first run too ([`Failures`](../../worker/settlement/failures.py)).
"""

from __future__ import annotations

from tests.lessons.kit import ByVersion, Lesson, Mutant

MUTANT = Mutant("worker.basic_nack(1, requeue=True)", "worker.basic_nack(1, requeue=False)", breaks=1)
DIFFERS = {
    2: ByVersion({"3.10": b"2", "4.3": None}),
    3: ByVersion({"3.10": None, "4.3": b"2"}),
}
NEXT = "test_18_blocked_publisher"


def test_the_delay_of_a_retry_is_the_brokers_own_since_4_3(lesson: Lesson) -> None:
    worker = lesson.channel("worker", confirms=True)
    delayed = {"x-queue-type": "quorum", "x-delayed-retry-type": "failed", "x-delayed-retry-min": 1500}
    for queue, body in (("nacked", b"1"), ("rejected", b"2")):
        worker.queue_declare(queue, durable=True, arguments=delayed)
        worker.basic_publish("", queue, body)
        worker.basic_get(queue)
    worker.basic_nack(1, requeue=True)
    worker.basic_reject(2, requeue=True)
    at_once = [worker.basic_get(queue, auto_ack=True)[2] for queue in ("nacked", "rejected")]
    lesson.claim(1, "Nacked with requeue: what comes at once?", at_once[0], b"1")
    lesson.claim(2, "And rejected with requeue?", at_once[1], DIFFERS[2])

    _, _, later = next(worker.consume("rejected", auto_ack=True, inactivity_timeout=4))
    lesson.claim(3, "And what comes later?", later, DIFFERS[3])
