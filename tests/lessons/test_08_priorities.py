"""I set a priority. Why does nothing overtake?

Asked in [kombu #824](https://github.com/celery/kombu/issues/824), over the 406 that `x-max-priority` brings,
and again with each version: [rabbitmq-website #2526](https://github.com/rabbitmq/rabbitmq-website/pull/2526).

**Most pages say** "declare the queue with `x-max-priority` and publish with `priority`". They speak of classic
queues.

**What happens.** A quorum queue refuses `x-max-priority`. What `priority` does there depends on the version:
3.10 ignores it; 4.0 knows two classes, up to 4 and above, and takes two high ones for each normal one; 4.3 is
strict, from 0 to 31, and a message without a priority counts as 4. Strict means that whoever may publish high
ones can keep the others waiting for ever.

**Source.** [Priorities of quorum queues](https://www.rabbitmq.com/docs/quorum-queues#priorities); measured on
3.10.8, 4.0.5, 4.3.6.

**Our own code** has a queue for each kind of task, with workers of its own, and never copies a priority into a
retry ([`Properties`](../../protocol/properties.py)).
"""

from __future__ import annotations

from pika import BasicProperties

from tests.lessons.kit import ByVersion, Lesson, Mutant, refusal

MUTANT = Mutant('"quorum", "x-max-priority": 10}', '"quorum"}', breaks=2)
DIFFERS = {
    1: ByVersion({"3.10": "1 0 none 9 5 9 5", "4.0": "9 5 1 9 5 0 none", "4.3": "9 9 5 5 none 1 0"}),
}
NEXT = "test_09_single_active_consumer"


def test_what_a_priority_does_depends_on_the_version(lesson: Lesson) -> None:
    publisher, worker = lesson.channel("publisher", confirms=True), lesson.channel("worker")
    publisher.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    for priority in (1, 0, None, 9, 5, 9, 5):
        body = b"none" if priority is None else b"%d" % priority
        publisher.basic_publish("", "queue_a", body, BasicProperties(priority=priority))
    order = [worker.basic_get("queue_a", auto_ack=True)[2].decode() for _ in range(7)]
    lesson.claim(1, "Published 1 0 none 9 5 9 5: in which order do they come out?", " ".join(order), DIFFERS[1])

    asked = {"x-queue-type": "quorum", "x-max-priority": 10}
    error = refusal(lambda: publisher.queue_declare("queue_b", durable=True, arguments=asked))
    lesson.claim(2, "May a quorum queue have x-max-priority?", error.split(" - ")[0], "406 PRECONDITION_FAILED")
