"""Where does a reply go, if nobody declares a queue for it?

Asked over `fast reply consumer does not exist` ([SimpleAmqpClient
#209](https://github.com/alanxz/SimpleAmqpClient/issues/209)), and whenever a requester restarts.

**Most pages say** "RPC over RabbitMQ: declare an exclusive queue for the replies". Few show the way without
one.

**What happens.** A requester consumes the name `amq.rabbitmq.reply-to` without acks and publishes on *the same
channel* with that name in `reply_to`. The broker writes an address of this very channel in its place. The
worker answers to the address by the default exchange; no queue stands between. So a reply is as lasting as the
channel: when its requester is gone, the worker's publish is confirmed as ever and the reply is nowhere. Without
the consumer the broker closes the channel that publishes.

**Source.** [Direct reply-to](https://www.rabbitmq.com/docs/direct-reply-to).

**Our own code** asks on one channel that does nothing else ([`Asking`](../../dispatcher/asking.py)), checks an
address before it answers to it ([`reply_kind`](../../protocol/reply_address.py)), and sends what was not
answered again after a reconnect, under the same id.
"""

from __future__ import annotations

from pika import BasicProperties

from tests.lessons.kit import ByVersion, Lesson, Mutant, refusal

MUTANT = Mutant("BasicProperties(correlation_id=asked.correlation_id)", "BasicProperties()", breaks=3)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_04_prefetch"


def test_a_direct_reply_reaches_the_channel_that_asked_or_nobody(lesson: Lesson) -> None:
    requester, worker, replies = lesson.channel("requester"), lesson.channel("worker", confirms=True), []
    worker.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    requester.basic_consume("amq.rabbitmq.reply-to", lambda *reply: replies.append(reply), auto_ack=True)
    asking = BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="question 7")
    requester.basic_publish("", "queue_a", b"6 * 7", asking)
    method, asked, _ = next(worker.consume("queue_a", inactivity_timeout=10))
    lesson.claim(1, "Is the worker asked to reply to that very name?", asked.reply_to == asking.reply_to, False)

    worker.basic_publish("", asked.reply_to, b"42", BasicProperties(correlation_id=asked.correlation_id))
    worker.basic_ack(method.delivery_tag)
    requester.connection.process_data_events(time_limit=10)
    lesson.claim(2, "What does the requester get?", replies[0][3], b"42")
    lesson.claim(3, "Which question does it answer?", replies[0][2].correlation_id, "question 7")

    lesson.kill("requester")
    worker.basic_publish("", asked.reply_to, b"42 again")
    lesson.claim(
        4, "The requester is gone: what does the worker hear of a reply?", lesson.heard("worker"), ["basic.ack"]
    )

    stranger = lesson.channel("stranger", confirms=True)
    error = refusal(lambda: stranger.basic_publish("", "queue_a", b"6 * 7", asking))
    lesson.claim(
        5,
        "What of a request without a consumer of replies?",
        error,
        "406 PRECONDITION_FAILED - fast reply consumer does not exist",
    )
