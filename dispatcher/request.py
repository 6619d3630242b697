"""What is asked for: one task with its arguments, delay and expiry, and the message that one or many become."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.delay import LONGEST_S, enter
from broker.publisher import Message
from broker.settings import Settings
from dispatcher.errors import BadRequest, UnknownTask
from protocol.batch import pack_batch
from protocol.codec import encode_arguments
from protocol.limits import LONGEST_EXPIRATION_MS
from protocol.names import DIRECT_REPLY_TO, TASKS, is_task_name, new_id
from protocol.task import Task, task_properties


# Made once a task, and not frozen because a frozen one takes three times as long to make.
@dataclass(slots=True, kw_only=True)
class Request:
    """A task to be sent, now or later, once or again. Times are epoch milliseconds."""

    id: str
    name: str
    body: bytes
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
        task_id: str | None = None,
    ) -> Request:
        """Check and encode. Raises ``UnknownTask``, ``BadRequest``, ``NotEncodable``; nothing was sent then."""
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
            id=task_id or new_id(),
            name=name,
            body=encode_arguments(arguments, settings.limits.messages),
            reply_to=reply_to,
            sent_at=now_ms,
            expires_at=0 if expires_s is None else now_ms + round((delay_s + expires_s) * 1000),
            due_ms=now_ms + round(delay_s * 1000) if delay_s else 0,
        )

    def message(self, *, resent: int = 0) -> Message:
        """The message to publish now. A resend waits only for what is left of the delay."""
        task, now_ms = self._task(self.id, self.body, resent=resent), _now_ms()
        if self.due_ms > now_ms:
            hop = enter((self.due_ms - now_ms) / 1000, task.name)
            return Message(
                exchange=hop.exchange,
                routing_key=hop.routing_key,
                body=task.body,
                properties=task_properties(task),
            )
        return _straight(task, now_ms)

    def _task(self, message_id: str, body: bytes, *, resent: int, batch: int = 0) -> Task:
        return Task(
            id=message_id,
            name=self.name,
            body=body,
            reply_to=self.reply_to,
            timestamp=self.sent_at // 1000,
            sent_at=self.sent_at,
            expires_at=self.expires_at,
            resent=resent,
            batch=batch,
            joined_replies=self.reply_to == DIRECT_REPLY_TO,
        )


def batch_message(batch_id: str, requests: Sequence[Request], *, resent: int = 0) -> Message:
    """One message with all these tasks, which are of one name, expiry and reply address, and are not delayed."""
    body = pack_batch([(request.id, request.body) for request in requests])
    task = requests[0]._task(batch_id, body, resent=resent, batch=len(requests))
    return _straight(task, _now_ms())


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
