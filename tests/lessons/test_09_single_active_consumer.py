"""How do I let exactly one of several workers consume, and another take over?

Asked in [NServiceBus.RabbitMQ #755](https://github.com/Particular/NServiceBus.RabbitMQ/issues/755).

**Most pages say** "consume with `exclusive=True`", or "declare the queue exclusive".

**What happens.** An exclusive queue dies with its connection. `exclusive=True` of a consumer is ignored on a
quorum queue: a second one is simply accepted. A queue with `x-single-active-consumer` delivers to one consumer;
the next in line takes over when that one is gone, and gets what it had not acked. It is no lock, though: the
old one may still be at work when the new one begins. `basic.get` is refused there.

**Source.** [Single active consumer](https://www.rabbitmq.com/docs/consumers#single-active-consumer).

**Our own code** does not need one: tasks may run side by side, and those that must not are kept apart by their
handlers' own means. What the broker hands out twice is answered from memory where it can be
([`Ledger`](../../worker/intake/ledger.py)).
"""

from __future__ import annotations

from tests.lessons.kit import ByVersion, Lesson, Mutant, refusal

MUTANT = Mutant('"x-single-active-consumer": True', '"x-single-active-consumer": False', breaks=2)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_10_delivery_limit"


def test_one_consumer_is_active_and_the_next_takes_over(lesson: Lesson) -> None:
    publisher, took, waits = lesson.channel("publisher", confirms=True), [], []
    worker_1, worker_2 = lesson.channel("worker 1"), lesson.channel("worker 2")
    alone = {"x-queue-type": "quorum", "x-single-active-consumer": True}
    publisher.queue_declare("queue_a", durable=True, arguments=alone)
    worker_1.basic_qos(prefetch_count=1)
    worker_1.basic_consume("queue_a", lambda *delivery: took.append(delivery[3]))
    worker_2.basic_consume("queue_a", lambda *delivery: waits.append(delivery[3]))
    publisher.basic_publish("", "queue_a", b"1")
    publisher.basic_publish("", "queue_a", b"2")
    lesson.wait(lambda: took == [b"1"], worker_1, worker_2)
    lesson.claim(1, "Two messages, a prefetch of 1: what does worker 1 have?", took, [b"1"])
    lesson.claim(2, "Worker 2 has room for both. How many still wait?", lesson.ready("queue_a"), 1)

    lesson.kill("worker 1")
    lesson.wait(lambda: len(waits) == 2, worker_2)
    lesson.claim(3, "Worker 1 is dead: what does worker 2 get?", sorted(waits), [b"1", b"2"])

    error = refusal(lambda: publisher.basic_get("queue_a"))
    lesson.claim(4, "And basic.get on such a queue?", error.split(" - ")[0], "405 RESOURCE_LOCKED")

    stranger = lesson.channel("stranger")
    stranger.queue_declare("queue_b", durable=True, arguments={"x-queue-type": "quorum"})
    stranger.basic_consume("queue_b", lambda *_: None, exclusive=True)
    error = refusal(lambda: worker_2.basic_consume("queue_b", lambda *_: None, exclusive=True))
    lesson.claim(5, "How is a second exclusive consumer of a usual quorum queue refused?", error, "none")
