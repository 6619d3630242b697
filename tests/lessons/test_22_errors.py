"""One wrong name, and all my consumers are gone. Which error closes a channel, and which the connection?

Asked in [streadway/amqp #390](https://github.com/streadway/amqp/issues/390), [php-amqp
#349](https://github.com/php-amqp/php-amqp/issues/349) and [lapin
#223](https://github.com/amqp-rs/lapin/issues/223).

**Most pages say** "reconnect on error", for all of them.

**What happens.** AMQP has two kinds. What a single method did wrong (403, 404, 405, 406) closes the channel on
which it was sent: the connection and its other channels go on, but every unacked delivery of *this* channel is
back in its queue, and confirms that were outstanding on it never come. What broke the protocol or is not
implemented (503, 530, 540, 541) closes the connection and so all channels on it, also those of others. The code in
the error says which of the two it was; a channel is never reopened, but replaced.

**Source.** [Channel exceptions](https://www.rabbitmq.com/docs/channels#error-handling), [AMQP 0-9-1 reply
codes](https://www.rabbitmq.com/amqp-0-9-1-reference); measured on 3.10.8, 4.0.5, 4.3.6.

**Our own code** keeps a publish that may be refused from taking others' confirms with it
([`CarefulPublisher`](../../broker/amqp/careful.py)).
"""

from __future__ import annotations

from collections.abc import Callable

from tests.lessons.kit import ByVersion, Lesson, Mutant, refusal

MUTANT = Mutant('queue_declare("nowhere", passive=True)', 'queue_declare("nowhere", exclusive=True)', breaks=1)
DIFFERS = {
    5: ByVersion(
        {"3.10": "503 COMMAND_INVALID closes the connection", "4.0": "406 PRECONDITION_FAILED closes the channel"}
    )
}
NEXT = "test_23_temporary_queues"


def test_an_error_of_a_method_closes_its_channel_and_a_breach_of_the_protocol_everything(lesson: Lesson) -> None:
    worker = lesson.channel("worker", confirms=True)
    worker.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    for body in (b"1", b"2"):
        worker.basic_publish("", "queue_a", body)
    neighbour = worker.connection.channel()
    for channel in (worker, neighbour):
        channel.basic_get("queue_a")
    error = refusal(lambda: worker.queue_declare("nowhere", passive=True))
    lesson.claim(1, "A queue that is not there?", error.split(" - ")[0], "404 NOT_FOUND")
    lesson.claim(2, "Is the other channel of this connection open?", neighbour.is_open, True)
    lesson.wait(lambda: lesson.ready("queue_a") == 1)
    lesson.claim(3, "Each channel held a message. How many wait again?", lesson.ready("queue_a"), 1)

    def closes(name: str, ask: Callable[..., object]) -> str:
        channel = lesson.channel(name)
        code = refusal(lambda: ask(channel)).split(" - ")[0]
        return f"{code} closes the {'channel' if channel.connection.is_open else 'connection'}"

    seen = closes("taken", lambda channel: channel.queue_declare("amq.mine", durable=True))
    lesson.claim(4, "A queue with a reserved name?", seen, "403 ACCESS_REFUSED closes the channel")
    seen = closes("typo", lambda channel: channel.exchange_declare("tasks", "dirrect"))
    lesson.claim(5, "An exchange type with a typing error?", seen, DIFFERS[5])
    seen = closes("old", lambda channel: channel.basic_recover(requeue=False))
    lesson.claim(6, "What RabbitMQ has not implemented?", seen, "540 NOT_IMPLEMENTED closes the connection")

    error = refusal(lambda: neighbour.basic_recover(requeue=False))
    lesson.wait(lambda: lesson.ready("queue_a") == 2)
    lesson.claim(7, "The same on the first connection: how many wait now?", lesson.ready("queue_a"), 2)
