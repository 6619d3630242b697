"""Which messages are still there after the broker was killed?

Asked in [rabbitmq-server #1793](https://github.com/rabbitmq/rabbitmq-server/issues/1793), where a durable queue
came back without its messages, and [metricq #58](https://github.com/metricq/metricq/issues/58).

**Most pages say** that a durable queue needs persistent messages (`delivery_mode=2`), or they are lost.

**What happens.** That is the rule of classic queues: the queue is back, and of its messages those with
`delivery_mode=2`, though both kinds were confirmed. A quorum queue writes every message to disk whatever its
publisher asked for. (One that was declared within the second before the power cut may be lost all the same, with
what was confirmed: the experiment waits for that to be over.) A queue that is not durable is gone with its node:
RabbitMQ lists it as deprecated (`transient_nonexcl_queues`), and 4.3.6 still permits it by default.

**Source.** [Durability](https://www.rabbitmq.com/docs/queues#durability), [quorum
queues](https://www.rabbitmq.com/docs/quorum-queues#behaviour), [deprecated
features](https://www.rabbitmq.com/docs/deprecated-features); measured on 3.10.8, 4.0.5, 4.3.6.

**Our own code** declares durable quorum queues and publishes persistent messages, which stay persistent when
they are dead-lettered into any other queue ([`Queue`](../../broker/topology/model.py)).
"""

from __future__ import annotations

import pytest
from pika import BasicProperties

from tests.lessons.kit import ByVersion, Lesson, Mutant, refusal

MUTANT = Mutant("BasicProperties(delivery_mode=2)", "BasicProperties(delivery_mode=1)", breaks=3)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_20_stopping"


@pytest.mark.own_broker
def test_what_is_left_depends_on_the_queue_and_in_a_classic_one_on_the_message(lesson: Lesson) -> None:
    publisher, careless = lesson.channel("publisher", confirms=True), lesson.channel("careless")
    error = refusal(lambda: careless.queue_declare("fleeting", durable=False))
    lesson.claim(1, "A queue that is not durable: how is it refused?", error, "none")

    persistent, transient = BasicProperties(delivery_mode=2), BasicProperties(delivery_mode=1)
    for queue_type in ("classic", "quorum"):
        publisher.queue_declare(queue_type, durable=True, arguments={"x-queue-type": queue_type})
        publisher.basic_publish("", queue_type, b"persistent", persistent)
        publisher.basic_publish("", queue_type, b"transient", transient)
    lesson.claim(2, "How many of the four are confirmed?", lesson.heard("publisher").count("basic.ack"), 4)

    lesson.restart_broker()
    lesson.wait(lambda: lesson.ready("quorum") == 2)
    reader, left = lesson.channel("reader"), {}
    for queue in ("classic", "quorum"):
        left[queue] = [reader.basic_get(queue, auto_ack=True)[2] for _ in range(2)]
    lesson.claim(
        3, "The broker was killed. What is left in the classic queue?", left["classic"], [b"persistent", None]
    )
    lesson.claim(4, "And in the quorum queue?", left["quorum"], [b"persistent", b"transient"])
    lesson.claim(5, "Is the one that is not durable there?", lesson.vhost.exists("fleeting"), False)
