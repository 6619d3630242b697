"""My worker stops in good order. Why does that count against messages that it never saw?

Asked in [bunny #532](https://github.com/ruby-amqp/bunny/issues/532), [bunny
#547](https://github.com/ruby-amqp/bunny/issues/547) and [go-rabbitmq
#78](https://github.com/wagslane/go-rabbitmq/issues/78): what becomes of prefetched messages at a stop?

**Most pages say** "cancel the consumer, finish what is in hand, close".

**What happens.** A cancel stops further deliveries; those that were prefetched stay the client's, to ack or to
give back. pika gives back by itself what its application has not been handed yet, by `basic.reject`, and in a
quorum queue that is a failed delivery. So each stop brings innocent messages one step nearer to the delivery
limit (lesson 10), at most as many as the prefetch. Since 4.3 a `basic.nack` costs a message nothing; up to 4.2 it
counts as well.

**Source.** pika 1.4.4, `BlockingChannel.basic_cancel`; [poison
messages](https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling); measured on 3.10.8, 4.0.5,
4.3.6.

**Our own code** keeps the prefetch small, and gives its work queues a limit far above what such stops reach
([`delivery_limit`](../../broker/config/settings.py)).
"""

from __future__ import annotations

from typing import Any

from tests.lessons.kit import ByVersion, Lesson, Mutant

MUTANT = Mutant("hasty.basic_qos(prefetch_count=3)", "hasty.basic_qos(prefetch_count=1)", breaks=1)
DIFFERS = {4: ByVersion({"3.10": 2, "4.3": 1})}
NEXT = "test_21_global_prefetch"


def test_what_was_prefetched_is_rejected_by_pika_and_counts_as_failed(lesson: Lesson) -> None:
    hasty, other, given = lesson.channel("hasty"), lesson.channel("other"), list[Any]()
    hasty.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    for body in (b"1", b"2", b"3"):
        hasty.basic_publish("", "queue_a", body)
    hasty.basic_qos(prefetch_count=3)

    def stop_after_one(channel: Any, method: Any, *_: object) -> object:
        channel.basic_ack(method.delivery_tag)
        return channel.basic_cancel(tag)

    tag = hasty.basic_consume("queue_a", stop_after_one)
    lesson.wait(lambda: lesson.heard("hasty").count("basic.deliver") == 3, within_s=5)
    # Whatever comes back is for the other one first.
    other.basic_consume("queue_a", lambda *delivery: given.append(delivery), arguments={"x-priority": 1})
    hasty.connection.process_data_events(0)
    rejects = lesson.said("hasty").count("basic.reject")
    lesson.claim(1, "It is handed the first of three and stops. How many does pika reject?", rejects, 2)

    lesson.wait(lambda: len(given) == 2, other)
    lesson.claim(2, "What does the other one get first?", given[0][3], b"2")
    count = int(given[0][2].headers["x-delivery-count"])
    lesson.claim(3, "Nobody ever saw it. How many failed deliveries does it have?", count, 1)

    other.basic_nack(given[0][1].delivery_tag)
    lesson.wait(lambda: len(given) == 3, other)
    count = int(given[2][2].headers["x-delivery-count"])
    lesson.claim(4, "The other one gives it back by nack. And now?", count, DIFFERS[4])
