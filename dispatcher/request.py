"""What is asked for: tasks with their arguments, delay and expiry, and the message that one or many become."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from broker.amqp.publisher import Message
from broker.config.settings import Settings
from dispatcher.errors import BadRequest, UnknownTask
from protocol.batch import pack_batch
from protocol.codec import Encoder
from protocol.delay import LONGEST_S, enter
from protocol.limits import LONGEST_EXPIRATION_MS
from protocol.names import DIRECT_REPLY_TO, TASKS, is_task_name, new_id
from protocol.task import Task, task_properties

T = TypeVar("T")


# Not frozen, since a frozen one takes three times as long to make.
@dataclass(slots=True, kw_only=True)
class Request:
    """Tasks of one name, sent in one message, now or later, once or again. Times are epoch milliseconds."""

    name: str
    #: The packed arguments of each task by its id. Several are not delayed, and make a batch.
    tasks: dict[str, bytes]
    reply_to: str | None = None
    sent_at: int = 0
    #: 0: never.
    expires_at: int = 0
    #: When it falls due; 0: at once.
    due_ms: int = 0

    @classmethod
    def build(
        cls,
        settings: Settings,
        name: str,
        arguments: Mapping[str, Any],
        *,
        reply_to: str | None,
        delay_s: float = 0.0,
        expires_s: float | None = None,
    ) -> Request:
        """One task. Check and encode. Raises ``UnknownTask``, ``BadRequest``, ``NotEncodable``; nothing was sent
        then."""
        if name not in settings.tasks and (delay_s or not is_task_name(name)):
            # A delayed task is accepted by the line before anyone knows whether its end is bound.
            raise UnknownTask(name, settings.tasks)
        if not 0 <= delay_s <= LONGEST_S:
            raise BadRequest(f"a delay must be from 0 to {LONGEST_S:,.1f} s (29 h), not {delay_s:g}")
        if expires_s is not None and not 1 <= expires_s * 1000 <= LONGEST_EXPIRATION_MS:
            longest_s = LONGEST_EXPIRATION_MS // 1000
            raise BadRequest(f"an expiry must be from 0.001 to {longest_s} s, not {expires_s:g}")
        now_ms = _now_ms()
        return cls(
            name=name,
            tasks={new_id(): Encoder(settings.limits.messages).arguments(arguments)},
            reply_to=reply_to,
            sent_at=now_ms,
            expires_at=0 if expires_s is None else now_ms + round((delay_s + expires_s) * 1000),
            due_ms=now_ms + round(delay_s * 1000) if delay_s else 0,
        )

    @classmethod
    def of_many(cls, name: str, tasks: dict[str, bytes]) -> Request:
        """Tasks whose replies are to come straight back. Nothing is checked."""
        return cls(name=name, tasks=tasks, reply_to=DIRECT_REPLY_TO, sent_at=_now_ms())

    def message(self, batch_id: str = "", *, resent: int = 0, address: str = DIRECT_REPLY_TO) -> Message:
        """The message to publish now. A resend waits only for what is left of the delay. ``batch_id`` is for
        more than one task; ``address`` is where replies that are to come straight back go."""
        if len(self.tasks) > 1:
            body = pack_batch(self.tasks.items())
            return _straight(self._task(batch_id, body, resent, address, len(self.tasks)), _now_ms())
        [(task_id, body)] = self.tasks.items()
        task, now_ms = self._task(task_id, body, resent, address), _now_ms()
        if self.due_ms > now_ms:
            hop = enter((self.due_ms - now_ms) / 1000, task.name)
            return Message(
                exchange=hop.exchange,
                routing_key=hop.routing_key,
                body=task.body,
                properties=task_properties(task),
            )
        return _straight(task, now_ms)

    def _task(self, message_id: str, body: bytes, resent: int, address: str, batch: int = 0) -> Task:
        is_direct = self.reply_to == DIRECT_REPLY_TO
        return Task(
            id=message_id,
            name=self.name,
            body=body,
            reply_to=address if is_direct else self.reply_to,
            timestamp=self.sent_at // 1000,
            sent_at=self.sent_at,
            expires_at=self.expires_at,
            resent=resent,
            batch=batch,
            joined_replies=is_direct,
        )


def packing(settings: Settings, name: str, read: Callable[[T], Mapping[str, Any]]) -> Callable[[T], bytes]:
    """What makes inputs into the packed arguments of tasks of that name. It raises what ``read`` raises,
    ``UnknownTask`` and ``NotEncodable``, and is for one thread."""
    is_sendable = name in settings.tasks or is_task_name(name)
    encoder = Encoder(settings.limits.messages)

    def pack(value: T) -> bytes:
        arguments = read(value)
        if not is_sendable:
            raise UnknownTask(name, settings.tasks)
        return encoder.arguments(arguments)

    return pack


def _straight(task: Task, now_ms: int) -> Message:
    left_ms = max(1, task.expires_at - now_ms) if task.expires_at else None
    return Message(
        exchange=TASKS,
        routing_key=task.name,
        body=task.body,
        properties=task_properties(task, expiration_ms=left_ms),
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
