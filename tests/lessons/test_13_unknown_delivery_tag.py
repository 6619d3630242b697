"""What does `unknown delivery tag` mean, and why is my channel closed?

Asked in [kombu #19](https://github.com/celery/kombu/issues/19) and [streadway/amqp
#427](https://github.com/streadway/amqp/issues/427).

**Most pages say** "you acked twice".

**What happens.** A delivery tag is a number of one channel, and an ack of a number that is not outstanding on
*this* channel closes it. There are at least four ways there: to ack twice, to ack what was consumed with
`auto_ack`, to ack on another channel than that of the delivery, and to ack after a reconnect, with a tag of the
channel that is gone. The last one does most harm: the close takes every other unacked delivery of the new
channel back to the queue.

**Source.** [Delivery tags](https://www.rabbitmq.com/docs/confirms#consumer-acks-delivery-tags).

**Our own code** keeps the channel beside the tag, and an ack for a channel that is gone is dropped
([`Delivery`](../../worker/intake/delivery.py)).
"""

from __future__ import annotations

from tests.lessons.kit import ByVersion, Lesson, Mutant, refusal

MUTANT = Mutant("twice.basic_ack(1)  # the first time", "pass", breaks=1)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_14_broker_cancels"
UNKNOWN = "406 PRECONDITION_FAILED - unknown delivery tag 1"


def test_an_ack_of_what_is_not_outstanding_on_a_channel_closes_it(lesson: Lesson) -> None:
    publisher, twice, automatic = (
        lesson.channel("publisher", confirms=True),
        lesson.channel("twice"),
        lesson.channel("automatic"),
    )
    publisher.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    for body in (b"1", b"2", b"3"):
        publisher.basic_publish("", "queue_a", body)

    twice.basic_get("queue_a")
    twice.basic_ack(1)  # the first time
    error = refusal(lambda: (twice.basic_ack(1), twice.basic_qos()))
    lesson.claim(1, "Acked twice?", error, UNKNOWN)

    automatic.basic_get("queue_a", auto_ack=True)
    error = refusal(lambda: (automatic.basic_ack(1), automatic.basic_qos()))
    lesson.claim(2, "Acked though it was consumed with auto_ack?", error, UNKNOWN)

    worker_1, other = lesson.channel("worker 1"), lesson.channel("other")
    worker_1.basic_get("queue_a")
    error = refusal(lambda: (other.basic_ack(1), other.basic_qos()))
    lesson.claim(3, "Acked on another channel?", error, UNKNOWN)

    lesson.kill("worker 1")
    again = lesson.channel("worker 1, again")
    error = refusal(lambda: (again.basic_ack(1), again.basic_qos()))
    lesson.claim(4, "Acked after a reconnect?", error, UNKNOWN)
    lesson.wait(lambda: lesson.ready("queue_a") == 1)
    lesson.claim(5, "How many messages wait again?", lesson.ready("queue_a"), 1)
