"""`delivery acknowledgement on channel 1 timed out`: what happens to a task that takes longer than that?

Asked in [rabbitmq-server #12857](https://github.com/rabbitmq/rabbitmq-server/issues/12857), [lapin
#357](https://github.com/amqp-rs/lapin/issues/357) and [amqpstorm
#126](https://github.com/eandersson/amqpstorm/issues/126), where a timeout of a minute did nothing.

**Most pages say** "after 30 minutes the channel is closed", and show where to raise the number.

**What happens.** Up to 4.2 that is so: the channel is closed, with all else that it held, and the ack that comes
later has no channel any more. It is looked for once a minute, so a shorter timeout ends at the next of these
looks. Since 4.3 the queue itself watches: it takes the message back on time and sends the consumer
`basic.cancel`; the channel stays open, and pika gets no more deliveries on it. Either way the message is
delivered to somebody else while the first is still at it.

**Source.** [Acknowledgement timeout](https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout); measured
on 3.10.8, 4.0.5, 4.3.6. The lesson sets the timeout to one second, and the look, which has no public setting, to
half a second (`channel_tick_interval` of `rabbit_channel`).

**Our own code** asks for a timeout of its own with `basic.consume`, which 4.3 honours and older brokers ignore
([`consume`](../../broker/amqp/channel.py)), and takes a cancel as the loss of its channel
([`Consumer`](../../worker/intake/consumer.py)).
"""

from __future__ import annotations

import pytest

from tests.lessons.kit import ByVersion, Lesson, Mutant

MUTANT = Mutant("auto_ack=False", "auto_ack=True", breaks=1)
DIFFERS = {
    1: ByVersion({"3.10": ["channel.close"], "4.3": ["basic.cancel"]}),
    2: ByVersion({"3.10": False, "4.3": True}),
}
NEXT = "test_27_overflow"


@pytest.mark.own_broker
def test_an_overdue_message_goes_to_somebody_else(lesson: Lesson) -> None:
    lesson.configure(consumer_timeout=1000, channel_tick_interval=500)
    slow, other, held = lesson.channel("slow"), lesson.channel("other"), []
    slow.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    slow.basic_publish("", "queue_a", b"1")
    slow.basic_consume("queue_a", lambda *delivery: held.append(delivery), auto_ack=False)
    lesson.wait(lambda: len(held) == 1, slow)
    # It works at its message, and its connection goes on.
    lesson.wait(lambda: lesson.ready("queue_a") == 1, slow)
    heard = [method for method in lesson.heard("slow") if method in ("channel.close", "basic.cancel")]
    lesson.claim(1, "Not acked for a second. What is the slow worker told?", heard, DIFFERS[1])
    lesson.claim(2, "Is its channel open?", slow.is_open, DIFFERS[2])
    lesson.claim(3, "What does another worker get meanwhile?", other.basic_get("queue_a")[2], b"1")
