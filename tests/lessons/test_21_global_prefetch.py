"""Does a prefetch of 2 mean two messages for a consumer, or for my process?

Asked in [kuyruk #77](https://github.com/cenkalti/kuyruk/pull/77); [rabbitmq-server
#15460](https://github.com/rabbitmq/rabbitmq-server/pull/15460) changed the answer in 4.3.

**Most pages say** "prefetch is per channel", as AMQP has it, or set `global=True` for a limit of the process.

**What happens.** In RabbitMQ a prefetch is each consumer's own: two consumers on a channel hold twice as many.
`global_qos=True` made it one limit for all consumers of a channel, of classic queues alone. A quorum queue
refuses its consumer then with 540, which ends the whole connection. Since 4.3 the flag is ignored, without a
word: the limit is each consumer's, so a channel holds more than it asked for.

**Source.** [Consumer prefetch](https://www.rabbitmq.com/docs/consumer-prefetch), [quorum queues: global
QoS](https://www.rabbitmq.com/docs/quorum-queues#global-qos); measured on 3.10.8, 4.0.5, 4.3.6.

**Our own code** gives each consumer its own and counts itself what runs at the same time
([`effective_prefetch`](../../broker/config/settings.py)).
"""

from __future__ import annotations

from tests.lessons.kit import ByVersion, Lesson, Mutant, refusal

MUTANT = Mutant("prefetch_count=2, global_qos=global_qos", "prefetch_count=1, global_qos=global_qos", breaks=1)
DIFFERS = {
    2: ByVersion({"3.10": 2, "4.3": 0}),
    3: ByVersion({"3.10": "540 NOT_IMPLEMENTED", "4.3": "none"}),
}
NEXT = "test_22_errors"


def test_a_prefetch_is_each_consumers_own_and_the_global_one_is_going(lesson: Lesson) -> None:
    publisher = lesson.channel("publisher", confirms=True)

    def waiting(queue: str, *, global_qos: bool) -> int:
        worker = lesson.channel(queue)
        worker.queue_declare(queue, durable=True, arguments={"x-queue-type": "classic"})
        worker.basic_qos(prefetch_count=2, global_qos=global_qos)
        worker.basic_consume(queue, lambda *_: None)
        worker.basic_consume(queue, lambda *_: None)
        for body in (b"1", b"2", b"3", b"4"):
            publisher.basic_publish("", queue, body)
        count = lesson.ready(queue)
        lesson.wait(lambda: lesson.heard(queue).count("basic.deliver") == 4 - count)
        return count

    count = waiting("usual", global_qos=False)
    lesson.claim(1, "Four messages, two consumers, a prefetch of 2: how many wait?", count, 0)
    count = waiting("global", global_qos=True)
    lesson.claim(2, "And with global_qos?", count, DIFFERS[2])

    other = lesson.channel("other")
    other.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    other.basic_qos(prefetch_count=2, global_qos=True)
    error = refusal(lambda: other.basic_consume("queue_a", lambda *_: None))
    lesson.claim(3, "How does a quorum queue refuse a consumer with it?", error.split(" - ")[0], DIFFERS[3])
