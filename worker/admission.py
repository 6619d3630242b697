"""Which deliveries are run at all. Pure: a message in, a task out, or the code of its refusal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from broker.settings import TaskSettings
from broker.wire import BrokenProperties
from protocol.addresses import ReplyKind, reply_kind
from protocol.errors import ErrorCode, Malformed
from protocol.limits import Limits
from protocol.properties import ReceivedProperties, bad
from protocol.task import Task, read_task


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
    settings = tasks.get(task.name)
    if settings is None:
        raise Malformed(ErrorCode.UNKNOWN_TASK, f"this worker's configuration has no task {task.name}")
    if settings.queue != queue:
        raise Malformed(ErrorCode.WRONG_QUEUE, f"{task.name} belongs to {settings.queue}, it came by {queue}")
    return task
