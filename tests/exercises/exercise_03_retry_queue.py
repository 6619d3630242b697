"""Choose the queue in which attempt n waits.

The first attempt that failed waits 100 ms, the second 300 ms, the third and every later one 800 ms. The queues
`retry`, `retry.100`, `retry.300` and `retry.800` dead-letter to `queue_a`. The first has no TTL of its own, the
others have the one in their name. Return the queue, and the expiration of the message in ms, if it needs one.

As it stands, all wait in one queue, each with an expiration of its own: a message there expires only at the head
of its queue, so a short wait stands behind a long one, and claim 1 fails.

Hints:
- In a queue whose messages all wait equally long, none stands behind another (lessons 6 and 7).
- There are more attempts than queues: an attempt beyond the last one stays with it.
"""

from __future__ import annotations

from collections.abc import Callable

from pika import BasicProperties

from tests.exercises.exercise import Unsolved
from tests.lessons.kit import Lesson

DELAYS_MS = (100, 300, 800)
UNSOLVED = Unsolved(claim=1, saw=b"attempt 3")


def waits_in(attempt: int) -> tuple[str, int | None]:
    return "retry", DELAYS_MS[attempt - 1]


def check(lesson: Lesson, waits_in: Callable[[int], tuple[str, int | None]]) -> None:
    worker = lesson.channel("worker", confirms=True)
    quorum = {"x-queue-type": "quorum"}
    back = quorum | {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "queue_a"}
    worker.queue_declare("queue_a", durable=True, arguments=quorum)
    worker.queue_declare("retry", durable=True, arguments=back)
    for delay_ms in DELAYS_MS:
        worker.queue_declare(f"retry.{delay_ms}", durable=True, arguments=back | {"x-message-ttl": delay_ms})
    for attempt in (3, 1):
        queue, expiration_ms = waits_in(attempt)
        properties = BasicProperties(expiration=expiration_ms and str(expiration_ms))
        worker.basic_publish("", queue, b"attempt %d" % attempt, properties, mandatory=True)
    came = [next(worker.consume("queue_a", auto_ack=True, inactivity_timeout=10))[2] for _ in range(2)]
    lesson.claim(1, "Attempt 3 waits, then attempt 1 of another task. Which is back first?", came[0], b"attempt 1")
    lesson.claim(2, "And then?", came[1], b"attempt 3")
    lesson.claim(3, "Where does attempt 9 wait?", waits_in(9)[0], "retry.800")
