"""Explain a transcript: which worker died, and what did it hold?

It is a list of what passed between workers and broker, in order: the worker, the method, the body of the message,
and whether a delivery was `redelivered`. Return the worker and the body, or None if nobody died.

As it stands, the first worker that holds something unacked is taken for dead. It is only slow, and claim 1 fails.

Hints:
- What a dead worker held comes to another worker, marked as redelivered (lesson 1).
- What a living one has given back comes again as well: it has settled it itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from tests.exercises.exercise import Unsolved
from tests.lessons.kit import Lesson


class Passed(NamedTuple):
    worker: str
    method: str
    body: str
    redelivered: bool


Explain = Callable[[list[Passed]], tuple[str, str] | None]
UNSOLVED = Unsolved(claim=1, saw=("worker 1", "order 1"))


def explain(transcript: list[Passed]) -> tuple[str, str] | None:
    for one in transcript:
        settled = any(other.body == one.body and other.method != "basic.get-ok" for other in transcript)
        if one.method == "basic.get-ok" and not settled:
            return one.worker, one.body
    return None


def transcript_of(lesson: Lesson, last: str) -> list[Passed]:
    """All until what this worker heard last. Acks and nacks have the body of their delivery."""
    lesson.heard(last)
    held: dict[tuple[str, str], str] = {}
    found = []
    for event in lesson.recording.events():
        if event.method in ("basic.get-ok", "basic.ack", "basic.nack") and event.client != "publisher":
            [tag] = re.findall(r"delivery_tag=(\d+)", event.words)
            if event.method == "basic.get-ok":
                held[event.client, tag] = re.findall(r"'([^']*)'$", event.words)[0]
            redelivered = "redelivered=True" in event.words
            found.append(Passed(event.client, event.method, held[event.client, tag], redelivered))
    return found


def check(lesson: Lesson, explain: Explain) -> None:
    publisher = lesson.channel("publisher", confirms=True)
    publisher.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    for body in (b"order 1", b"order 2", b"order 3"):
        publisher.basic_publish("", "queue_a", body)
    slow, dying, other = (lesson.channel(f"worker {number}") for number in (1, 2, 3))
    slow.basic_get("queue_a")
    dying.basic_ack(dying.basic_get("queue_a")[0].delivery_tag)
    dying.basic_get("queue_a")
    lesson.kill("worker 2")
    lesson.wait(lambda: lesson.ready("queue_a") == 1)
    other.basic_get("queue_a")
    first = transcript_of(lesson, "worker 3")
    lesson.claim(1, "Who died, and what did it hold?", explain(first), ("worker 2", "order 3"))
    other.basic_nack(1)
    lesson.wait(lambda: lesson.ready("queue_a") == 1)
    slow.basic_get("queue_a")
    since = transcript_of(lesson, "worker 1")[len(first) - 1 :]
    lesson.claim(2, "Worker 3 gives it back, worker 1 gets it. Who died since?", explain(since), None)
