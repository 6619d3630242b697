"""Does a message that I put back keep its place?

Asked wherever "RabbitMQ guarantees FIFO" meets a retry.

**Most pages say** that a requeued message goes back to its original position if it can.

**What happens.** In a quorum queue it goes to the end on 3.10, and to the front on 4.0 and later. The order of
*work* is another one anyway as soon as there is a prefetch above 1 or a second consumer: message 2 is being
worked on while message 1 is put back. Who needs an order takes a single active consumer, a prefetch of 1 and no
requeue, or gives each message a number.

**Source.** [Message ordering](https://www.rabbitmq.com/docs/queues#message-ordering); measured on 3.10.8,
4.0.5, 4.3.6.

**Our own code** promises no order, and puts nothing back: a task that fails is published anew with its delay
([`Failures`](../../worker/settlement/failures.py)).
"""

from __future__ import annotations

from tests.lessons.kit import ByVersion, Lesson, Mutant

MUTANT = Mutant(
    "worker.basic_nack(first[0].delivery_tag, requeue=True)", "worker.basic_ack(first[0].delivery_tag)", 2
)
DIFFERS = {2: ByVersion({"3.10": "3 4 1", "4.0": "1 3 4"})}
NEXT = "test_13_unknown_delivery_tag"


def test_where_a_requeued_message_goes_depends_on_the_version(lesson: Lesson) -> None:
    worker = lesson.channel("worker", confirms=True)
    worker.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    for body in (b"1", b"2", b"3", b"4"):
        worker.basic_publish("", "queue_a", body)
    first, second = worker.basic_get("queue_a"), worker.basic_get("queue_a")
    lesson.claim(1, "What is in hand?", [first[2], second[2]], [b"1", b"2"])

    worker.basic_nack(first[0].delivery_tag, requeue=True)
    rest = [worker.basic_get("queue_a")[2] or b"nothing" for _ in range(3)]
    lesson.claim(2, "The first is put back: what comes next, and then?", b" ".join(rest).decode(), DIFFERS[2])
