"""Where is my message while a worker has it, and what becomes of it when the worker dies?

Asked in [rabbitmq-server #2105](https://github.com/rabbitmq/rabbitmq-server/issues/2105), by somebody who then
set auto_ack to be rid of it.

**Most pages say** that the task "remains in the queue" until it is done, or that a task in progress "may be
lost" when its worker crashes.

**What happens.** A delivered message is neither waiting nor gone: it is *unacked*, kept by the broker for one
channel of one connection. Nobody else gets it. When that channel ends, for whatever reason, the message waits
again in its queue, and its next delivery has `redelivered` set. An ack ends it for good. So a task in progress
is lost only if it was acked before it was done, which is what `auto_ack=True` does. `redelivered` says that the
message *may* have been worked on, not that it was: it is set for messages that a dead worker had merely
fetched.

**Source.** [Automatic requeueing](https://www.rabbitmq.com/docs/confirms#automatic-requeueing).

**Our own code** acks when the effects of a task are known: its reply, its retry or its dead letter is confirmed
first ([`Settler`](../../worker/settlement/settler.py)).
"""

from __future__ import annotations

from tests.lessons.kit import ByVersion, Lesson, Mutant

MUTANT = Mutant("auto_ack=False", "auto_ack=True", breaks=3)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_02_confirms_and_mandatory"


def test_a_message_is_its_workers_until_that_worker_acks_or_ends(lesson: Lesson) -> None:
    publisher = lesson.channel("publisher", confirms=True)
    publisher.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    publisher.basic_publish("", "queue_a", b"pack order 1")
    worker_1 = lesson.channel("worker 1")
    fetched = next(worker_1.consume("queue_a", auto_ack=False, inactivity_timeout=10))
    lesson.claim(1, "What has worker 1 in its hands?", fetched[2], b"pack order 1")

    worker_2 = lesson.channel("worker 2")
    lesson.claim(2, "What does worker 2 get meanwhile?", worker_2.basic_get("queue_a")[2], None)

    lesson.kill("worker 1")
    method, _, body = next(worker_2.consume("queue_a", inactivity_timeout=10))
    lesson.claim(3, "What does worker 2 get when worker 1 is dead?", body, b"pack order 1")
    lesson.claim(4, "Does that delivery say that it was delivered before?", method.redelivered, True)

    worker_2.basic_ack(method.delivery_tag)
    lesson.kill("worker 2")
    lesson.claim(5, "What is left after the ack and the death of worker 2?", lesson.ready("queue_a"), 0)
