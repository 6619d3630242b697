"""My queue is limited to two messages. Why is my publisher not stopped?

Asked in [rabbitmq-server #995](https://github.com/rabbitmq/rabbitmq-server/issues/995) and [amqplib
#435](https://github.com/amqp-node/amqplib/issues/435).

**Most pages say** that a full queue refuses messages, or that publishing "blocks" at `x-max-length`.

**What happens.** By default a full queue takes the new message, confirms it, and throws its *oldest* away
(`drop-head`): nobody is told, unless a dead letter exchange gets it, with the reason `maxlen`. With `x-overflow:
reject-publish` the new one is refused by a nack, which a publisher hears only in confirm mode. A classic queue
counts exactly; a quorum queue may take a few more before it refuses.

**Source.** [Queue length limit](https://www.rabbitmq.com/docs/maxlength); measured on 3.10.8, 4.0.5, 4.3.6.

**Our own code** declares its work queues with reject-publish, which at-least-once dead lettering needs
(lesson 5), and calls a nacked publish refused ([`_work_queue`](../../broker/topology/model.py)).
"""

from __future__ import annotations

from pika.exceptions import NackError

from tests.lessons.kit import ByVersion, Lesson, Mutant

MUTANT = Mutant('"x-overflow": "reject-publish"', '"x-overflow": "drop-head"', breaks=4)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_28_counting_attempts"


def test_a_full_queue_drops_its_oldest_message_unless_it_was_told_to_refuse(lesson: Lesson) -> None:
    publisher = lesson.channel("publisher", confirms=True)
    full = {"x-queue-type": "classic", "x-max-length": 2}
    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dropped"}
    publisher.queue_declare("dropped", durable=True, arguments={"x-queue-type": "quorum"})
    publisher.queue_declare("usual", durable=True, arguments=full | dead)
    publisher.queue_declare("strict", durable=True, arguments=full | {"x-overflow": "reject-publish"})
    for body in (b"1", b"2", b"3"):
        publisher.basic_publish("", "usual", body)
    lesson.claim(
        1, "Three into a queue of two: how many are confirmed?", lesson.heard("publisher").count("basic.ack"), 3
    )
    lesson.claim(2, "Which is the first in it?", publisher.basic_get("usual", auto_ack=True)[2], b"2")
    _, properties, body = next(publisher.consume("dropped", auto_ack=True, inactivity_timeout=10))
    lesson.claim(
        3, "Which one died, and why?", (body, properties.headers["x-death"][0]["reason"]), (b"1", "maxlen")
    )

    answer = "confirmed"
    for body in (b"1", b"2", b"3"):
        try:
            publisher.basic_publish("", "strict", body)
        except NackError:
            answer = "nacked"
    lesson.claim(4, "With reject-publish, what is the third?", answer, "nacked")
    lesson.claim(5, "And the first in that queue?", publisher.basic_get("strict", auto_ack=True)[2], b"1")
