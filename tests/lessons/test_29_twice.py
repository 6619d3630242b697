"""My worker died after the work and before the ack. Is the order packed twice?

Asked in [broadway_rabbitmq #6](https://github.com/elixir-broadway/broadway_rabbitmq/issues/6) and [watermill
#554](https://github.com/ThreeDotsLabs/watermill/issues/554).

**Most pages say** "acks guarantee that a message is processed exactly once", or "look at `redelivered`".

**What happens.** Between the work and its ack there is always a moment, and who dies in it does the work again.
`redelivered` does not help: it is also set for what was fetched and never begun. And a publisher that lost its
connection before the confirm publishes again: that is another message for the broker, with `redelivered` false.
What helps is an id that the *publisher* gives, and a worker that remembers the ids of what it has done, in the
same place and at the same moment as its effects.

**Source.** [Reliability, consumers](https://www.rabbitmq.com/docs/reliability#consumer-side); measured on
3.10.8, 4.0.5, 4.3.6.

**Our own code** gives each task an id, sends it again under the same one, and answers a repeated delivery from
memory where it can ([`Ledger`](../../worker/intake/ledger.py)).
"""

from __future__ import annotations

from pika import BasicProperties

from tests.lessons.kit import ByVersion, Lesson, Mutant

MUTANT = Mutant(
    'again.basic_publish("", "queue_a", b"order 1", order)', 'again.basic_publish("", "queue_a", b"order 1")', 3
)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_30_lost_node"


def test_only_an_id_of_the_publishers_own_tells_a_repetition(lesson: Lesson) -> None:
    publisher, order = lesson.channel("publisher"), BasicProperties(message_id="order 1")
    publisher.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    publisher.basic_publish("", "queue_a", b"order 1", order)
    lesson.kill("publisher")
    # It heard of no confirm, so it cannot know, and publishes again.
    again = lesson.channel("publisher, again", confirms=True)
    again.basic_publish("", "queue_a", b"order 1", order)

    worker_1, worker_2 = lesson.channel("worker 1"), lesson.channel("worker 2")
    packed = [worker_1.basic_get("queue_a")]
    lesson.kill("worker 1")
    lesson.wait(lambda: lesson.ready("queue_a") == 2)
    packed += [worker_2.basic_get("queue_a"), worker_2.basic_get("queue_a")]
    bodies = [body for _, _, body in packed]
    lesson.claim(1, "Worker 1 died before its ack. How often was the order packed?", bodies, [b"order 1"] * 3)
    redelivered = [method.redelivered for method, _, _ in packed]
    lesson.claim(2, "How many of these deliveries are marked as redelivered?", redelivered.count(True), 1)
    ids = {properties.message_id for _, properties, _ in packed}
    lesson.claim(3, "How many different ids do they have?", len(ids), 1)
