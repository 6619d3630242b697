"""My task takes longer than a minute. Why is my connection reset, and why does the task run twice?

Asked in [pika #1104](https://github.com/pika/pika/issues/1104), [pika
#93](https://github.com/pika/pika/issues/93) and many times since.

**Most pages say** "set heartbeat=0", or "the server closes after two missed heartbeats".

**What happens.** pika sends heartbeats only while its connection is worked; a handler that runs on that thread
keeps it from that, and the broker takes the client for dead: it closes the socket, and the message goes to the
next worker while the first is still at it. Without heartbeats nobody closes anything; that is worse when the
client is really gone behind a network that does not say so: the broker keeps its message for it for ever. And a
client that the network has left learns of it by heartbeats alone: pika looks each timeout and five seconds, and
gives up after an interval in vain, so after 12 s where the timeout is one.

**Source.** [Heartbeats](https://www.rabbitmq.com/docs/heartbeats), pika 1.4.4 `heartbeat.py`; measured on
3.10.8, 4.0.5, 4.3.6.

**Our own code** runs handlers on other threads or processes than the connection, whose heartbeats go on
([`heartbeat_s`](../../broker/config/settings.py)).
"""

from __future__ import annotations

from collections.abc import Callable

from pika.exceptions import AMQPError

from tests.lessons.kit import ByVersion, Lesson, Mutant

MUTANT = Mutant('lesson.channel("busy", heartbeat_s=1)', 'lesson.channel("busy", heartbeat_s=0)', breaks=1)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_26_acknowledgement_timeout"


def test_who_sends_no_heartbeats_is_taken_for_dead_and_who_agreed_on_none_never(lesson: Lesson) -> None:
    publisher = lesson.channel("publisher", confirms=True)
    publisher.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    busy, trusting = lesson.channel("busy", heartbeat_s=1), lesson.channel("trusting")
    distant = lesson.channel("distant", heartbeat_s=1)
    for worker, body in ((busy, b"1"), (trusting, b"2"), (distant, b"3")):
        publisher.basic_publish("", "queue_a", body)
        worker.basic_get("queue_a")

    lesson.silence("trusting")
    lesson.silence("distant")

    def lost_by(action: Callable[[], object]) -> str:
        try:
            action()
        except AMQPError as error:
            return type(error).__name__
        return "nothing"

    far = lost_by(lambda: lesson.wait(lambda: False, distant))
    near = lost_by(lambda: (busy.basic_ack(1), busy.connection.process_data_events(1)))
    bodies = sorted(publisher.basic_get("queue_a")[2] or b"" for _ in range(3))
    lesson.claim(1, "One is busy, two are cut off. Whose messages come back?", bodies, [b"", b"1", b"3"])
    lesson.claim(
        2, "What does pika raise where heartbeats were agreed on, but none came?", far, "AMQPHeartbeatTimeout"
    )
    lesson.claim(3, "Does the one that agreed on none know that it is cut off?", trusting.is_closed, False)
    lesson.claim(4, "The busy one is done and acks. What does pika raise?", near, "StreamLostError")
