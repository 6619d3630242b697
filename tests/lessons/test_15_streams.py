"""Can I read a message that somebody has acked?

Asked in [amqplib #673](https://github.com/amqp-node/amqplib/issues/673), where a stream gave five messages and
then no more.

**Most pages say** "streams are RabbitMQ's Kafka", and show their own protocol.

**What happens.** A stream is a queue type that a plain AMQP client can use. Reading takes nothing away: an ack
says only "send me more", so each reader sees all, from the offset that it asks for, and the reader itself must
remember how far it came. A prefetch is required. What a stream does not have is what a task queue is for: no
single message is acked away, put back, expired or dead-lettered.

**Source.** [Streams](https://www.rabbitmq.com/docs/streams#consuming).

**Our own code** keeps tasks in quorum queues, where an ack takes one message away
([`Queue`](../../broker/topology/model.py)).
"""

from __future__ import annotations

from tests.lessons.kit import ByVersion, Lesson, Mutant, refusal

MUTANT = Mutant('{"x-stream-offset": offset}', '{"x-stream-offset": "next"}', breaks=1)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_16_policies"


def test_a_stream_keeps_what_was_acked(lesson: Lesson) -> None:
    publisher = lesson.channel("publisher", confirms=True)
    publisher.queue_declare("log", durable=True, arguments={"x-queue-type": "stream"})
    for body in (b"0", b"1", b"2"):
        publisher.basic_publish("", "log", body)

    def read(name: str, offset: object) -> list[bytes]:
        reader, got = lesson.channel(name), list[bytes]()
        reader.basic_qos(prefetch_count=1)
        arguments = {"x-stream-offset": offset}
        for method, _, body in reader.consume("log", arguments=arguments, inactivity_timeout=5):
            if method is None:
                break
            got.append(body)
            reader.basic_ack(method.delivery_tag)
            if body == b"2":
                break
        return got

    lesson.claim(
        1, "What does a reader get from the first offset on?", read("reader 1", "first"), [b"0", b"1", b"2"]
    )
    lesson.claim(2, "It has acked all. What does the next one get?", read("reader 2", "first"), [b"0", b"1", b"2"])
    lesson.claim(3, "And from offset 1 on?", read("reader 3", 1), [b"1", b"2"])

    error = refusal(lambda: lesson.channel("careless").basic_consume("log", lambda *_: None))
    lesson.claim(
        4,
        "And without a prefetch?",
        error.split(" for ")[0],
        "406 PRECONDITION_FAILED - consumer prefetch count is not set",
    )
