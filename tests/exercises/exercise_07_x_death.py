"""Read `x-death`: how often did a message die, and in which queue first?

The headers are those of a delivery, or None. Return the number of deaths and the first queue, or 0 and None.

As it stands, each entry is taken for one death and the first entry for the first death. But there is one entry for
each queue and reason, with a count, and the latest comes first, and claim 2 fails.

Hints:
- An entry has `queue`, `reason`, `count`, `time` and more (lesson 5).
- The broker keeps the first queue apart: `x-first-death-queue`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.exercises.exercise import Unsolved
from tests.lessons.kit import Lesson

Headers = dict[str, Any] | None
UNSOLVED = Unsolved(claim=2, saw=(2, "retry"))


def deaths(headers: Headers) -> tuple[int, str | None]:
    entries = (headers or {}).get("x-death", [])
    return len(entries), entries[0]["queue"] if entries else None


def check(lesson: Lesson, deaths: Callable[[Headers], tuple[int, str | None]]) -> None:
    worker = lesson.channel("worker", confirms=True)
    for queue, other, further in (("queue_a", "retry", {}), ("retry", "queue_a", {"x-message-ttl": 100})):
        dead = {"x-queue-type": "quorum", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": other}
        worker.queue_declare(queue, durable=True, arguments=dead | further)
    worker.basic_publish("", "queue_a", b"pack order 1")
    deliveries = worker.consume("queue_a", inactivity_timeout=10)
    method, properties, _ = next(deliveries)
    lesson.claim(1, "Before it died for the first time?", deaths(properties.headers), (0, None))
    for _ in range(2):
        worker.basic_reject(method.delivery_tag, requeue=False)
        method, properties, _ = next(deliveries)
    seen = deaths(properties.headers)
    lesson.claim(2, "Rejected twice in queue_a, and twice expired in retry?", seen, (4, "queue_a"))
