"""Which deliveries are run at all. Pure: a message in, a task out, or the code of its refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from broker.amqp.pika_connection import BrokenProperties
from broker.amqp.property_cache import Shape, Shaped
from broker.config.routes import require_home
from broker.config.settings import TaskSettings
from protocol.errors import ErrorCode, Malformed
from protocol.limits import Limits
from protocol.properties import ReceivedProperties, bad
from protocol.reply_address import ReplyKind, reply_kind
from protocol.task import PLACES, Task, read_task, same_again

#: How many patterns are kept.
KEPT = 512


class Admission:
    """``admit`` with a memory: what is like a message that was admitted before is not read once more."""

    def __init__(
        self, tasks: Mapping[str, TaskSettings], limits: Limits, replies: Literal["direct", "mailbox"]
    ) -> None:
        self._tasks = tasks
        self._limits = limits
        self._replies = replies
        self._patterns: dict[Shape, tuple[Task, str]] = {}

    def admit(self, properties: ReceivedProperties, body: bytes, queue: str) -> Task:
        """The task of a delivery from ``queue``. Raises ``Malformed``."""
        if type(properties) is not Shaped:
            return admit(properties, body, queue, self._tasks, self._limits, self._replies)
        shape = properties.shape
        pattern = self._patterns.get(shape)
        if pattern is not None and queue == pattern[1] and len(body) <= self._limits.body_bytes:
            again = same_again(pattern[0], body, *shape.values(properties.raw))
            if again is not None:
                return again
        task = admit(properties, body, queue, self._tasks, self._limits, self._replies)
        if shape.varying == PLACES:
            if len(self._patterns) >= KEPT:
                self._patterns.clear()
            self._patterns[shape] = replace(task, body=b""), queue
        return task


def admit(
    properties: ReceivedProperties,
    body: bytes,
    queue: str,
    tasks: Mapping[str, TaskSettings],
    limits: Limits,
    replies: Literal["direct", "mailbox"] = "direct",
) -> Task:
    """The task of a delivery from ``queue``. Raises ``Malformed``; nothing of the message was run or looked up
    other than by exact name in ``tasks``."""
    if isinstance(properties, BrokenProperties):
        raise bad("the properties cannot be decoded")
    task = read_task(properties, body, limits)
    if replies == "mailbox" and reply_kind(task.reply_to) is ReplyKind.DIRECT:
        raise Malformed(ErrorCode.BAD_REPLY_TO, "this installation answers to mailboxes only (replies: mailbox)")
    require_home(tasks, task.name, queue)
    return task
