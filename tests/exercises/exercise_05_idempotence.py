"""Pack an order once, however often its message is delivered.

The database has a table `stock` with one row, whose column `packed` counts, and an empty table `done` whose only
column, `message_id`, is its primary key. `pack` may be called with the same message again, in another process too,
at any time after a crash.

As it stands, each delivery packs: the worker dies between the work and its ack, the message is delivered again,
and claim 2 fails.

Hints:
- Neither `redelivered` nor the content says that a message was worked on; the publisher's id does (lesson 29).
- Remember the id where the effect is, and in one transaction with it: a crash leaves both or neither.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from pika import BasicProperties

from tests.exercises.exercise import Unsolved
from tests.lessons.kit import Lesson

UNSOLVED = Unsolved(claim=2, saw=9)


def pack(database: sqlite3.Connection, message_id: str, pieces: int) -> None:
    with database:
        database.execute("UPDATE stock SET packed = packed + ?", (pieces,))


def check(lesson: Lesson, pack: Callable[[sqlite3.Connection, str, int], None]) -> None:
    database, statements = sqlite3.connect(":memory:"), list[str]()
    database.executescript(
        "CREATE TABLE done (message_id PRIMARY KEY);"
        "CREATE TABLE stock (packed INTEGER); INSERT INTO stock VALUES (0)"
    )
    publisher = lesson.channel("publisher", confirms=True)
    publisher.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    for order in ("order 1", "order 2"):
        publisher.basic_publish("", "queue_a", b"3", BasicProperties(message_id=order))

    def work(worker: str) -> None:
        _, properties, body = lesson.channel(worker).basic_get("queue_a")
        pack(database, properties.message_id, int(body))

    database.set_trace_callback(statements.append)
    work("worker 1")
    database.set_trace_callback(None)
    lesson.claim(1, "In how many transactions was an order packed?", statements.count("COMMIT"), 1)
    lesson.kill("worker 1")
    lesson.wait(lambda: lesson.ready("queue_a") == 2)
    work("worker 2")
    work("worker 3")
    packed = database.execute("SELECT packed FROM stock").fetchone()[0]
    lesson.claim(2, "Worker 1 died before its ack. Two orders of 3 pieces: how many are packed?", packed, 6)
