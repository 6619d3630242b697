"""My drain script saw an empty queue. Why were the tasks there a minute later?

Asked in [rabbitmq-server #2774](https://github.com/rabbitmq/rabbitmq-server/issues/2774): a quorum queue without
a leader, whose messages nobody can count.

**Most pages say** "declare the queue passively: the answer has the number of messages".

**What happens.** Where a quorum queue has no leader, for a moment at a restart or as long as most of its nodes
are away, the broker does not know the number, and answers `declare-ok` with 0 all the same. Nothing in it says
so. A `basic.get` is not answered with "empty" there, but closes the connection (541): ask that as well before you
believe in a 0.

**Source.** rabbitmq-server 3.10.8, `rabbit_quorum_queue:stat` (0 if the leader does not answer within 0.25 s);
measured on 3.10.8, 4.0.5, 4.3.6.

**Our own code** asks for both where a 0 decides something ([`count`](../../broker/amqp/counting.py)).
"""

from __future__ import annotations

import pytest

from tests.lessons.kit import ByVersion, Lesson, Mutant, refusal

MUTANT = Mutant('arguments={"x-queue-type": "quorum"}', 'arguments={"x-queue-type": "classic"}', breaks=2)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_25_heartbeats"


@pytest.mark.own_broker
def test_a_quorum_queue_without_a_leader_is_declared_with_no_messages(lesson: Lesson) -> None:
    publisher, script = lesson.channel("publisher", confirms=True), lesson.channel("script")
    publisher.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    for body in (b"1", b"2", b"3"):
        publisher.basic_publish("", "queue_a", body)
    lesson.wait(lambda: lesson.ready("queue_a") == 3)
    lesson.claim(1, "How many wait?", script.queue_declare("queue_a", passive=True).method.message_count, 3)

    lesson.stop_leader("queue_a")
    lesson.claim(2, "And without a leader?", script.queue_declare("queue_a", passive=True).method.message_count, 0)
    error = refusal(lambda: script.basic_get("queue_a"))
    lesson.claim(3, "How is basic.get refused?", error.split(" - ")[0], "541 INTERNAL_ERROR")

    lesson.all_clear()
    lesson.wait(lambda: lesson.ready("queue_a") == 3)
    lesson.claim(4, "The leader is back. How many wait?", lesson.ready("queue_a"), 3)
