"""Why does my worker stop acking when the broker is short of memory?

Asked in [amqpstorm #118](https://github.com/eandersson/amqpstorm/issues/118) and [php-amqplib
#743](https://github.com/php-amqplib/php-amqplib/issues/743): what happens to a publish under an alarm?

**Most pages say** that publishers are blocked, "while consumers can still drain the queues".

**What happens.** Under a memory or disk alarm the broker stops *reading the socket* of a connection as soon as
it publishes there, and sends `connection.blocked`. The publish itself fails nowhere: it waits in the socket.
So does whatever comes behind it on that connection, the acks of its consumers as well: to the broker this worker
looks busy. A connection that only consumes and acks goes on. When the alarm is over, all is read in its order.

**Source.** [Alarms](https://www.rabbitmq.com/docs/alarms), [blocked connection
notifications](https://www.rabbitmq.com/docs/connection-blocked); measured on 3.10.8, 4.0.5, 4.3.6.

**Our own code** acks on one connection and publishes replies and retries on another
([`Outbox`](../../worker/settlement/outbox.py)).
"""

from __future__ import annotations

import pytest

from tests.lessons.kit import ByVersion, Lesson, Mutant

MUTANT = Mutant('both.basic_publish("", "replies", b"reply to 1")', "pass", breaks=1)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_19_durability"


@pytest.mark.own_broker
def test_under_an_alarm_a_connection_that_publishes_is_not_read_any_more(lesson: Lesson) -> None:
    both, consumer, held = lesson.channel("both"), lesson.channel("consumer"), []
    for queue in ("queue_a", "replies"):
        both.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
    for body in (b"1", b"2", b"3"):
        both.basic_publish("", "queue_a", body)
    both.basic_qos(prefetch_count=1)
    both.basic_consume("queue_a", lambda *delivery: held.append(delivery))
    lesson.wait(lambda: len(held) == 1, both)
    consumer.basic_qos(prefetch_count=1)
    second = next(consumer.consume("queue_a", inactivity_timeout=10))

    lesson.alarm()
    both.basic_publish("", "replies", b"reply to 1")
    lesson.wait(lambda: lesson.is_blocked("both"), both)
    lesson.claim(1, "An alarm, and a publish. Is its connection blocked?", lesson.is_blocked("both"), True)

    consumer.basic_ack(second[0].delivery_tag)
    third = next(consumer.consume("queue_a", inactivity_timeout=10))
    lesson.claim(2, "The one that only consumes acks. What is it delivered next?", third[2], b"3")

    both.basic_ack(held[0][1].delivery_tag)
    lesson.claim(3, "The blocked one acks. How many replies are there yet?", lesson.ready("replies"), 0)

    lesson.all_clear()
    lesson.wait(lambda: lesson.ready("replies") == 1 and not lesson.is_blocked("both"), both)
    lesson.claim(4, "The alarm is over. And now?", lesson.ready("replies"), 1)
