"""Every name that exists on the broker, and the patterns that names and ids must fit."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import TypeGuard

#: Exchanges.
TASKS = "tasks"
DUE = "tasks.due"
LOST = "tasks.lost"
DEAD = "tasks.dead"
KILLED = "tasks.killed"
REPLIES = "replies"
#: Where workers are steered from, and where they say that they have read it.
CONTROL = "control"
MARKERS = "control.markers"
#: Queues (``tasks.lost`` is the name of an exchange and of its queue).
OBITUARIES = "tasks.obituaries"
#: A stream.
CONTROL_STREAM = "tasks.control"
#: The literal that the broker replaces in ``reply_to`` by an address of the requester's channel.
DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"

APP_ID = "glassrabbit"
CONTENT_TYPE = "application/msgpack"

MAILBOX_PREFIX = "mailbox."
TASK_NAME_LENGTH = 100
ID_LENGTH = 32

_ID = re.compile(r"[0-9a-f]{32}")
_DIGITS = b"0123456789abcdef"
_TASK = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_MAILBOX = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def new_id() -> str:
    """A fresh task id: 32 lower-case hex digits, 128 random bits."""
    return os.urandom(16).hex()


def new_ids() -> Iterator[str]:
    """Ids without end, each in a third of the time of ``new_id``."""
    while True:
        digits = os.urandom(16 * 256).hex()
        yield from [digits[at : at + 32] for at in range(0, len(digits), 32)]


def is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def are_ids(values: Sequence[object]) -> bool:
    """Whether all of them are ids, at once."""
    try:
        digits = "".join(values).encode(errors="replace")  # type: ignore[arg-type]
        return not digits.translate(None, _DIGITS) and {*map(len, values)} <= {ID_LENGTH}  # type: ignore[arg-type]
    except TypeError:
        return False


def is_task_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= TASK_NAME_LENGTH and _TASK.fullmatch(value) is not None


def is_mailbox_name(value: object) -> bool:
    return isinstance(value, str) and _MAILBOX.fullmatch(value) is not None


def dead_queue(queue: str) -> str:
    """Where the dead letters of a work queue are kept."""
    return f"{queue}.dead"


def delay_level(level: int) -> str:
    """The switch (exchange) and the queue of one bit of a delay have the same name."""
    return f"tasks.delay.{level:02d}"


def mailbox_queue(name: str) -> str:
    return MAILBOX_PREFIX + name


def mailbox_of(reply_to: str) -> str | None:
    """The mailbox that a ``reply_to`` names, or None if it names none."""
    name = reply_to.removeprefix(MAILBOX_PREFIX)
    return name if name != reply_to and is_mailbox_name(name) else None
