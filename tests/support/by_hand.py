"""A worker played by the test: it decides what is answered, when, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack
import pika

from protocol.batch import join_replies, read_batch
from protocol.limits import DEFAULT_LIMITS
from tests.support.vhost import Letter, Vhost

_RUN = {"attempts": 1, "worker": "by-hand:1", "queued_ms": 0, "ran_ms": 0}


def reply(task_id: str, result: object = None) -> bytes:
    """The body of a reply that says that a task is done."""
    packed: bytes = msgpack.packb({"id": task_id, "result": result, **_RUN})
    return packed


def failure(task_id: str, code: str = "rejected") -> bytes:
    """The body of a reply that says that a task, or a batch as a whole, has failed."""
    error = {"code": code, "type": code, "text": "by hand"}
    packed: bytes = msgpack.packb({"id": task_id, "error": error, **_RUN})
    return packed


def tasks_of(letter: Letter) -> dict[str, Any]:
    """The tasks of a batch, or the one of a plain message: id → arguments."""
    count = letter.headers.get("batch")
    if count is None:
        return {letter.properties.message_id: letter.value}
    entries = read_batch(letter.body, count, DEFAULT_LIMITS)
    return {task_id: msgpack.unpackb(arguments) for task_id, arguments in entries}


def together(bodies: Sequence[bytes]) -> bytes:
    """Many replies as one message."""
    return join_replies("0" * 32, bodies).body


def answer(vhost: Vhost, letter: Letter, *bodies: bytes) -> None:
    """Publish replies to the direct address that a task carries; without a body: one, that it is done."""
    with vhost.channel() as channel:
        for body in bodies or (reply(letter.properties.message_id),):
            properties = pika.BasicProperties(correlation_id=letter.properties.correlation_id)
            channel.basic_publish("", letter.properties.reply_to, body, properties)


def post(vhost: Vhost, mailbox: str, task_id: str, body: bytes | None = None) -> None:
    """Publish a reply to a mailbox."""
    properties = pika.BasicProperties(correlation_id=task_id, delivery_mode=2)
    vhost.publish("replies", mailbox, reply(task_id) if body is None else body, properties)
