"""A worker played by the test: it decides what is answered, when, and how often."""

from __future__ import annotations

import msgpack
import pika

from tests.support.vhost import Letter, Vhost

_RUN = {"attempts": 1, "worker": "by-hand:1", "queued_ms": 0, "ran_ms": 0}


def reply(task_id: str, result: object = None) -> bytes:
    """The body of a reply that says that a task is done."""
    packed: bytes = msgpack.packb({"id": task_id, "result": result, **_RUN})
    return packed


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
