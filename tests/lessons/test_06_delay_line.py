"""How can a broker without a clock run a task in 0.6 s, and another in 0.2 s, in the right order?

Asked in [rabbitmq-server #2007](https://github.com/rabbitmq/rabbitmq-server/issues/2007), where one queue with
several delays let the short ones wait behind the long ones.

**Most pages say** "a queue with a TTL and a dead letter exchange", one for each delay, or a plugin.

**What happens.** One queue for each *bit* of the delay is enough. A message carries its delay in binary in the
routing key, `1.1.task` for three units. At each level a topic exchange looks at one bit: with a 1 the message
waits in that level's queue, whose TTL is the same for all, and expires to the next level; with a 0 it goes on
at once. All messages of a queue wait equally long, so none waits behind another, and `x-death` shows the way
that a message took.

**Source.** [Dead lettering](https://www.rabbitmq.com/docs/dlx), [topic
exchanges](https://www.rabbitmq.com/docs/exchanges).

**Our own code** has twenty levels of 0.1 s, up to 29 hours ([`delay_level`](../../protocol/names.py)).
"""

from __future__ import annotations

import time

from tests.lessons.kit import ByVersion, Lesson, Mutant

MUTANT = Mutant('"x-message-ttl": 200 * 2**level', '"x-message-ttl": 100', breaks=4)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_07_expiration"


def test_a_delay_is_a_number_in_binary_and_each_bit_is_a_queue(lesson: Lesson) -> None:
    line = lesson.channel("publisher", confirms=True)
    for name in ("bit.1", "bit.0", "due"):
        line.exchange_declare(name, "topic", durable=True)
    for level, target, one, zero in ((1, "bit.0", "1.*.#", "0.*.#"), (0, "due", "*.1.#", "*.0.#")):
        waiting = {"x-queue-type": "quorum", "x-message-ttl": 200 * 2**level, "x-dead-letter-exchange": target}
        line.queue_declare(f"delay.{level}", durable=True, arguments=waiting)
        line.queue_bind(f"delay.{level}", f"bit.{level}", one)
        line.exchange_bind(target, f"bit.{level}", zero)
    line.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    line.queue_bind("queue_a", "due", "*.*.task")
    started = time.monotonic()
    for key, body in (("1.1.task", b"in three units"), ("0.1.task", b"in one"), ("0.0.task", b"now")):
        line.basic_publish("bit.1", key, body, mandatory=True)

    worker = lesson.channel("worker")
    arrived = [next(worker.consume("queue_a", auto_ack=True, inactivity_timeout=10)) for _ in range(3)]
    took_s = time.monotonic() - started
    lesson.claim(1, "Published first: three units. What arrives first?", arrived[0][2], b"now")
    lesson.claim(2, "And last?", arrived[2][2], b"in three units")
    way = [death["queue"] for death in arrived[2][1].headers["x-death"]]
    lesson.claim(3, "Which way did that one take, the latest first?", way, ["delay.0", "delay.1"])
    lesson.claim(4, "Was it on its way for at least 0.6 s?", took_s >= 0.6, True)
