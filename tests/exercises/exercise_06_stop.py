"""Stop a worker at SIGTERM, so that nothing is lost and nothing done twice.

`serve` consumes `queue_a` with a prefetch of 2, calls `handle` with each body, and returns soon after a signal's
handler has set `stop`. What was begun by then is finished. What was only fetched is for others.

As it stands, the worker stops at once when the handler returns: the task is done and not acked, another worker
does it again, and claim 2 fails.

Hints:
- In which order do handle, ack and the look at `stop` leave no gap?
- An idle worker has to look at `stop` as well: `consume` yields (None, None, None) after `inactivity_timeout`.
- What was fetched and not begun needs no method: it is back in its queue when the connection ends (lessons 1, 20).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

from pika.adapters.blocking_connection import BlockingChannel

from tests.exercises.exercise import Unsolved
from tests.lessons.kit import Lesson

Handle = Callable[[bytes], None]
UNSOLVED = Unsolved(claim=2, saw=[b"1", b"2", b"2", b"3", b"4"])


def serve(channel: BlockingChannel, stop: threading.Event, handle: Handle) -> None:
    for method, _, body in channel.consume("queue_a", inactivity_timeout=0.1):
        if method is not None:
            handle(body)
        if stop.is_set():
            return
        if method is not None:
            channel.basic_ack(method.delivery_tag)


def check(lesson: Lesson, serve: Callable[[BlockingChannel, threading.Event, Handle], None]) -> None:
    worker, stop, done = lesson.channel("worker", confirms=True), threading.Event(), list[bytes]()
    worker.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    for body in (b"1", b"2", b"3", b"4"):
        worker.basic_publish("", "queue_a", body)
    worker.basic_qos(prefetch_count=2)

    def handle(body: bytes) -> None:
        if body == b"2":
            signal.raise_signal(signal.SIGTERM)
        done.append(body)

    usual = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        serve(worker, stop, handle)
    finally:
        signal.signal(signal.SIGTERM, usual)
    lesson.claim(1, "SIGTERM comes in the middle of the second task. What is done?", done, [b"1", b"2"])
    lesson.kill("worker")
    other = lesson.channel("another worker")
    lesson.wait(lambda: lesson.ready("queue_a") >= 2)
    while (body := other.basic_get("queue_a", auto_ack=True)[2]) is not None:
        done.append(body)
    lesson.claim(2, "Another one does the rest. What was done in all?", sorted(done), [b"1", b"2", b"3", b"4"])
