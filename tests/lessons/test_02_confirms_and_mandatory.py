"""I published without an error. Why is my message in no queue?

Asked in [pika #543](https://github.com/pika/pika/issues/543) and [amqplib
#492](https://github.com/amqp-node/amqplib/issues/492).

**Most pages say** "turn on publisher confirms", and then that a confirmed message is safe in a queue.

**What happens.** A confirm says that the broker has done what the publisher asked for. Where no queue is bound,
that is nothing: the message is confirmed and gone. `mandatory` asks for it back in that case, but without
confirms its publisher cannot know when it has waited long enough for a return. Only both together give an
answer to "is it in a queue?": the return comes *before* the confirm, so a confirm without a return means yes.
And an exchange that does not exist is another matter: there the broker closes the channel, and every confirm
that was still to come is lost with it.

**Source.** [When will published messages be
confirmed](https://www.rabbitmq.com/docs/confirms#when-publishes-are-confirmed).

**Our own code** publishes every task with both, and calls a task accepted when its confirm is there and no
return was ([`Publisher`](../../broker/amqp/publisher.py)).
"""

from __future__ import annotations

from contextlib import suppress

from pika.exceptions import UnroutableError

from tests.lessons.kit import ByVersion, Lesson, Mutant, refusal

MUTANT = Mutant(
    'loud.basic_publish("", "queue_b", b"3", mandatory=True)', 'loud.basic_publish("", "queue_b", b"3")', 4
)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_03_direct_reply_to"


def test_a_message_is_in_a_queue_when_it_is_confirmed_and_was_not_returned(lesson: Lesson) -> None:
    quiet, loud = lesson.channel("quiet"), lesson.channel("loud", confirms=True)
    loud.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})

    quiet.basic_publish("", "queue_b", b"1")
    lesson.claim(
        1, "No confirms, no mandatory, no such queue: what does the publisher hear?", lesson.heard("quiet"), []
    )

    loud.basic_publish("", "queue_b", b"2")
    lesson.claim(2, "Confirms alone: what does it hear of the same?", lesson.heard("loud"), ["basic.ack"])

    quiet.basic_publish("", "queue_b", b"1", mandatory=True)
    lesson.claim(3, "mandatory alone: what does it hear?", lesson.heard("quiet"), ["basic.return"])

    with suppress(UnroutableError):
        loud.basic_publish("", "queue_b", b"3", mandatory=True)
    lesson.claim(4, "Both: what comes, in which order?", lesson.heard("loud"), ["basic.return", "basic.ack"])

    loud.basic_publish("", "queue_a", b"4", mandatory=True)
    lesson.claim(5, "Both, and the queue is there?", lesson.heard("loud"), ["basic.ack"])

    error = refusal(lambda: loud.basic_publish("nowhere", "queue_a", b"5", mandatory=True))
    lesson.claim(
        6,
        "And an exchange that does not exist?",
        error.split(" in vhost")[0],
        "404 NOT_FOUND - no exchange 'nowhere'",
    )
