"""My message expires after 0.1 s. Why is it still there?

Asked in [rabbitmq-server #2074](https://github.com/rabbitmq/rabbitmq-server/issues/2074), and doubted in
[rabbitmq-website #1788](https://github.com/rabbitmq/rabbitmq-website/issues/1788), which says that the
documentation is out of date and an expired message leaves wherever it stands.

**Most pages say** "set `expiration`, and the message is dead-lettered when its time is over", and build retries
with growing delays in one queue on it.

**What happens.** A queue looks only at its head. A message whose time is over stays, counted as ready, while
one that lives longer stands before it; it leaves as soon as that one is gone. So `expiration` of each message
cannot make different delays in one queue, and a task's own time limit is kept only when somebody takes what
stands before it.

**Source.** [Caveats of per-message TTL](https://www.rabbitmq.com/docs/ttl#per-message-ttl-caveats).

**Our own code** delays in queues where all wait equally long (lesson 6), and a worker looks at a task's time
limit again before it runs ([`is_expired`](../../worker/expiry.py)).
"""

from __future__ import annotations

from pika import BasicProperties

from tests.lessons.kit import ByVersion, Lesson, Mutant

MUTANT = Mutant('expiration="60000"', 'expiration="50"', breaks=1)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_08_priorities"


def test_an_expired_message_leaves_when_it_is_at_the_head(lesson: Lesson) -> None:
    publisher, worker = lesson.channel("publisher", confirms=True), lesson.channel("worker")
    waiting = {"x-queue-type": "quorum", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "due"}
    publisher.queue_declare("due", durable=True, arguments={"x-queue-type": "quorum"})
    publisher.queue_declare("mixed", durable=True, arguments=waiting)
    publisher.queue_declare("other", durable=True, arguments=waiting)
    publisher.basic_publish("", "mixed", b"long", BasicProperties(expiration="60000"))
    publisher.basic_publish("", "mixed", b"short", BasicProperties(expiration="100"))
    publisher.basic_publish("", "other", b"by itself", BasicProperties(expiration="1000"))
    _, _, first = next(worker.consume("due", auto_ack=True, inactivity_timeout=10))
    lesson.claim(1, "0.1 s behind 60 s, and 1 s by itself: which arrives first?", first, b"by itself")
    lesson.claim(2, "How many wait in mixed, 0.9 s after one of them expired?", lesson.ready("mixed"), 2)

    publisher.basic_get("mixed", auto_ack=True)
    _, _, second = next(worker.consume("due", auto_ack=True, inactivity_timeout=10))
    lesson.claim(3, "The head is taken: what arrives now?", second, b"short")
