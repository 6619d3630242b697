"""Why does one worker hold all tasks while the others have nothing to do?

Asked in [amqpstorm #117](https://github.com/eandersson/amqpstorm/issues/117) and [sfm-ui
#762](https://github.com/gwu-libraries/sfm-ui/issues/762), where tasks waited inside one busy process.

**Most pages say** that RabbitMQ hands out messages "round-robin", one to each worker in turn.

**What happens.** It hands out to whoever has room, and without a prefetch everybody has room without end: the
first consumer is sent all that is there, and a worker that starts later finds an empty queue. `basic.qos`
limits how many deliveries a consumer may hold *unacked*; the next one comes with an ack, not with the passing
of a turn. Round-robin is only what this looks like while all consumers have room.

**Source.** [Consumer prefetch](https://www.rabbitmq.com/docs/consumer-prefetch).

**Our own code** asks for as many as a worker can run at once and a few more
([`effective_prefetch`](../../broker/config/settings.py)).
"""

from __future__ import annotations

from tests.lessons.kit import ByVersion, Lesson, Mutant

MUTANT = Mutant("prefetch_count=1", "prefetch_count=0", breaks=3)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_05_dead_lettering"


def test_a_consumer_is_sent_as_much_as_its_prefetch_has_room_for(lesson: Lesson) -> None:
    publisher, held, careful = lesson.channel("publisher", confirms=True), [], []
    for queue in ("queue_a", "queue_b"):
        publisher.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        for body in (b"1", b"2", b"3"):
            publisher.basic_publish("", queue, body)

    worker_1, worker_2 = lesson.channel("worker 1"), lesson.channel("worker 2")
    worker_1.basic_consume("queue_a", lambda *delivery: held.append(delivery))
    lesson.wait(lambda: len(held) == 3, worker_1)
    lesson.claim(1, "Without a prefetch, how many of three does worker 1 hold?", len(held), 3)
    lesson.claim(2, "What is there for worker 2?", worker_2.basic_get("queue_a")[2], None)

    worker_3, worker_4 = lesson.channel("worker 3"), lesson.channel("worker 4")
    worker_3.basic_qos(prefetch_count=1)
    worker_3.basic_consume("queue_b", lambda *delivery: careful.append(delivery))
    lesson.wait(lambda: len(careful) == 1, worker_3)
    lesson.claim(3, "With a prefetch of 1, how many still wait?", lesson.ready("queue_b"), 2)
    lesson.claim(4, "What does worker 4 get at once?", worker_4.basic_get("queue_b")[2], b"2")

    worker_3.basic_ack(careful[0][1].delivery_tag)
    lesson.wait(lambda: len(careful) == 2, worker_3)
    lesson.claim(5, "And worker 3, after its ack?", careful[1][3], b"3")
