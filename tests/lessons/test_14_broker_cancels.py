"""Why did my consumer just stop, without an error?

Asked in [rabbitmq-c #870](https://github.com/alanxz/rabbitmq-c/issues/870); [php-amqplib
#95](https://github.com/php-amqplib/php-amqplib/pull/95) describes it as well.

**Most pages say** nothing of it.

**What happens.** When a queue is deleted, the broker sends its consumers `basic.cancel`. That is a notice, not
an error: channel and connection stay open, heartbeats go on, and nothing is delivered any more. pika's
`consume` ends as if everything were done, and `start_consuming` returns when that was its last consumer. A
program that does not ask *why* it ended stops in silence, or waits for ever.

**Source.** [Consumer cancel notification](https://www.rabbitmq.com/docs/consumer-cancel).

**Our own code** takes a cancel as the loss of its channel, says so in the log, and consumes anew
([`Consumer`](../../worker/intake/consumer.py)).
"""

from __future__ import annotations

from tests.lessons.kit import ByVersion, Lesson, Mutant

MUTANT = Mutant('administrator.queue_delete("queue_a")', 'administrator.queue_purge("queue_a")', breaks=1)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_15_streams"


def test_a_consumer_whose_queue_is_deleted_is_cancelled_and_nothing_fails(lesson: Lesson) -> None:
    administrator, worker = lesson.channel("administrator", confirms=True), lesson.channel("worker")
    administrator.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    administrator.basic_publish("", "queue_a", b"1")
    deliveries = worker.consume("queue_a", auto_ack=True, inactivity_timeout=3)
    next(deliveries)

    administrator.queue_delete("queue_a")
    after = next(deliveries, "the end")
    lesson.claim(1, "The queue is deleted: what does pika's consume yield next?", after, "the end")
    lesson.claim(2, "Is the channel still open?", worker.is_open, True)

    administrator.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    administrator.basic_publish("", "queue_a", b"2")
    worker.connection.process_data_events(0)
    lesson.claim(3, "The queue is there again: how many wait for a consumer?", lesson.ready("queue_a"), 1)
