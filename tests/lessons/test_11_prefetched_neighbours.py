"""One poison message kills my worker. Why are others in the dead letter queue?

Asked, and disputed, in [rabbitmq-website #2207](https://github.com/rabbitmq/rabbitmq-website/pull/2207).

**Most pages say** that the delivery limit takes the message out that makes the worker crash.

**What happens.** The broker does not know which message a worker was at when it died. All that the worker held
come back and count as delivered once more, those too that it had merely prefetched. With a prefetch of 3 and a
poison message at the head, its two neighbours die at the same crash, though nobody ever ran them.

**Source.** [Poison message handling](https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling).

**Our own code** gives work queues a limit far above what a worker's few crashes reach, keeps the prefetch
small, and puts a task that was there at several deaths into quarantine, alone
([`Quarantine`](../../worker/intake/quarantine.py)).
"""

from __future__ import annotations

from tests.lessons.kit import ByVersion, Lesson, Mutant

MUTANT = Mutant("prefetch_count=3", "prefetch_count=1", breaks=1)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_12_order"


def test_prefetched_messages_die_with_the_one_that_kills_the_worker(lesson: Lesson) -> None:
    publisher = lesson.channel("publisher", confirms=True)
    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "queue_a.dead"}
    publisher.queue_declare("queue_a.dead", durable=True, arguments={"x-queue-type": "quorum"})
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 1}
    publisher.queue_declare("queue_a", durable=True, arguments=arguments | dead)
    for body in (b"poison", b"neighbour", b"another"):
        publisher.basic_publish("", "queue_a", body)

    held: list[bytes] = []
    for name in ("worker 1", "worker 2"):
        worker = lesson.channel(name)
        held.clear()
        worker.basic_qos(prefetch_count=3)
        worker.basic_consume("queue_a", lambda *delivery: held.append(delivery[3]))
        lesson.wait(lambda: len(held) == 3, worker)
        lesson.kill(name)
    lesson.wait(lambda: lesson.ready("queue_a.dead") == 3)
    lesson.claim(
        1, "Two workers died at the first message. How many dead letters?", lesson.ready("queue_a.dead"), 3
    )

    bodies = [publisher.basic_get("queue_a.dead")[2] for _ in range(3)]
    lesson.claim(2, "Is the neighbour, which nobody ran, among them?", b"neighbour" in bodies, True)
