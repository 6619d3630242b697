"""Ask a question over direct reply-to, and wait for its answer, not longer than allowed.

Replies come as pairs of correlation id and body, and are appended to `replies` while the connection processes its
events. Return the answer to this very question, or None when `within_s` is over.

As it stands, whatever comes is taken for the answer. The first question is answered too late, when the second one
is asked, and claim 2 fails.

Hints:
- The worker copies `correlation_id` from the question into its reply (lesson 3). Give each its own.
- `process_data_events(time_limit=…)` returns at the first event, whatever it is: keep a deadline of your own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from pika import BasicProperties
from pika.adapters.blocking_connection import BlockingChannel

from tests.exercises.exercise import Unsolved
from tests.lessons.kit import Lesson

REPLY_TO = "amq.rabbitmq.reply-to"
Replies = deque[tuple[str, bytes]]
UNSOLVED = Unsolved(claim=2, saw=b"ANSWER TO 1")


def ask(channel: BlockingChannel, replies: Replies, question: bytes, within_s: float) -> bytes | None:
    channel.basic_publish("", "queue_a", question, BasicProperties(reply_to=REPLY_TO, correlation_id="question"))
    channel.connection.process_data_events(time_limit=within_s)
    return replies.popleft()[1] if replies else None


def check(lesson: Lesson, ask: Callable[[BlockingChannel, Replies, bytes, float], bytes | None]) -> None:
    requester, replies = lesson.channel("requester"), Replies()
    requester.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})

    def take(_: object, method: object, properties: Any, body: bytes) -> None:
        replies.append((properties.correlation_id, body))

    requester.basic_consume(REPLY_TO, take, auto_ack=True)

    def answer_the_first_late() -> None:
        with lesson.vhost.channel() as worker:
            questions = [next(worker.consume("queue_a", auto_ack=True)) for _ in range(2)]
            for _, asked, body in questions:
                properties = BasicProperties(correlation_id=asked.correlation_id)
                worker.basic_publish("", asked.reply_to, b"ANSWER TO " + body, properties)

    worker = threading.Thread(target=answer_the_first_late, daemon=True)
    worker.start()
    lesson.claim(1, "Nobody answers in time. What does ask return?", ask(requester, replies, b"1", 0.3), None)
    answer = ask(requester, replies, b"2", 10.0)
    lesson.claim(2, "The second question. Which answer does it get?", answer, b"ANSWER TO 2")
    worker.join()
