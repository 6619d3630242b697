"""A node of my cluster died. When do others get what its workers were at?

Asked in [rabbitmq-server #15473](https://github.com/rabbitmq/rabbitmq-server/issues/15473), where a queue kept
unacked messages that no channel held any more.

**Most pages say** "unacked messages are requeued when the connection is lost", and that a quorum queue survives
the loss of a node.

**What happens.** Both are true, but not at once. With two of three nodes left the queue takes and confirms
messages as before. What a client of the *lost* node held is another matter: the queue cannot know whether that
node is dead or merely cut off with a worker that goes on. 3.10 and 4.0 assume that it is dead, and deliver
elsewhere at once. Since 4.3 it waits for 60 s (a single active consumer keeps its place meanwhile), unless a
policy says less. A broker before 4.3 refuses that policy.

**Source.** [Quorum queues](https://www.rabbitmq.com/docs/quorum-queues), `consumer_disconnected_timeout`; measured
on clusters of three nodes of 3.10.8, 4.0.5 and 4.3.6 (there 59.8 s, and 4.8 s with the policy).

**Our own code** looks for that policy in a cluster of 4.3
([`check_lost_nodes`](../../broker/doctor/check_broker.py)).
"""

from __future__ import annotations

from tests.lessons.kit import ByVersion, Lesson, Mutant

NODES = 3
MUTANT = Mutant('"worker of {queue}", node=2', '"worker of {queue}", node=3', breaks=3)
DIFFERS = {1: ByVersion({"3.10": False, "4.3": True}), 4: ByVersion({"3.10": 1, "4.3": 0})}
NEXT = "test_01_acks_and_redelivery"


def test_what_a_lost_node_held_is_delivered_elsewhere_at_once_or_after_a_minute(lesson: Lesson) -> None:
    soon = {"consumer-disconnected-timeout": 5000}
    taken = lesson.takes_policy("^queue_b$", soon)
    lesson.claim(1, "Does the broker take a policy of 5 s for queue_b?", taken, DIFFERS[1])

    publisher, held = lesson.channel("publisher", confirms=True), list[bytes | None]()
    for queue in ("queue_a", "queue_b"):
        publisher.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        publisher.basic_publish("", queue, b"pack order 1")
        worker = lesson.channel(f"worker of {queue}", node=2)
        held.append(next(worker.consume(queue, inactivity_timeout=10))[2])
    lesson.claim(2, "Each queue has a worker, on node 2. What do they hold?", held, [b"pack order 1"] * 2)

    lesson.lose_node(2)
    lesson.wait(lambda: lesson.ready("queue_b") == 1)
    lesson.claim(3, "Node 2 is lost. How many of queue_b wait again, within 15 s?", lesson.ready("queue_b"), 1)
    lesson.wait(lambda: lesson.ready("queue_a") == 1, within_s=5)
    lesson.claim(4, "And of queue_a?", lesson.ready("queue_a"), DIFFERS[4])

    publisher.basic_publish("", "queue_a", b"pack order 2")
    lesson.claim(5, "Two nodes are left. What does the publisher hear?", lesson.heard("publisher"), ["basic.ack"])
