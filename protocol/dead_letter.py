"""Dead letters: the headers that a worker writes on one, and the reason why it died."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from protocol.errors import ErrorCode
from protocol.limits import Limits, cut
from protocol.names import DEAD, DIRECT_REPLY_TO, DUE, KILLED, LOST
from protocol.properties import HeaderValue, Properties, ReceivedProperties

#: The broker's words for a death (``x-death[].reason``) that are codes of ours.
_BROKER_REASONS = {
    "delivery_limit": ErrorCode.DELIVERY_LIMIT,
    "expired": ErrorCode.EXPIRED,
    "rejected": ErrorCode.REJECTED,
}
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a letter died, in which queue. ``code`` is an ``ErrorCode`` or ``unknown``."""

    code: str
    text: str
    queue: str


def reason_of(exchange: str, routing_key: str, headers: dict[str, Any] | None) -> Reason:
    """Read the reason off a dead letter or an obituary, made by a worker or the broker.

    The exchange says who did: a worker publishes to ``tasks.dead``, the broker to ``tasks.killed``, and what
    fell off the end of the delay line comes by ``tasks.due``. Headers of the wrong maker are not believed.
    """
    headers = headers or {}
    if exchange == DEAD:
        return Reason(
            code=_text(headers.get("reason"), _UNKNOWN) or _UNKNOWN,
            text=_text(headers.get("text"), ""),
            queue=_text(headers.get("queue"), routing_key),
        )
    if exchange in (DUE, LOST):
        return Reason(code=ErrorCode.UNKNOWN_TASK, text="no queue is bound for this task", queue=LOST)
    if exchange == KILLED:
        reason = _death(headers.get("x-death"), routing_key)
        code = _BROKER_REASONS.get(reason, _UNKNOWN)
        return Reason(code=code, text=_TEXTS.get(reason, f"the broker's reason is {reason!r}"), queue=routing_key)
    return Reason(code=_UNKNOWN, text="not made by a worker or a work queue", queue=routing_key)


_TEXTS = {
    "delivery_limit": "given back too often: its workers died, or returned it, time and again",
    "expired": "no worker took it before it expired",
    "rejected": "rejected by a consumer",
}


def _death(deaths: object, queue: str) -> str:
    """The newest death in ``queue``: RabbitMQ lists them newest first, one entry per queue and reason."""
    for death in deaths if isinstance(deaths, list) else []:
        if isinstance(death, dict) and death.get("queue") == queue:
            return _text(death.get("reason"), _UNKNOWN)
    return _UNKNOWN


def letter_properties(
    original: Properties, *, code: str, text: str, queue: str, worker: str, died_ms: int, limits: Limits
) -> Properties:
    """Properties of a dead letter: those of the task, and who buried it, where, when and why."""
    headers: dict[str, HeaderValue] = {
        **original.headers,
        "reason": code,
        "text": cut(text, limits.error_text_bytes),
        "queue": queue,
        "worker": worker,
        "died": died_ms,
    }
    return replace(original, headers=headers, expiration=None)


def salvage(properties: ReceivedProperties) -> Properties:
    """What of a malformed message's properties can go onto its dead letter: each that is sound by itself."""
    headers = properties.headers if isinstance(properties.headers, dict) else {}
    sound: dict[str, HeaderValue] = {
        key: value
        for key in _SCALAR_HEADERS
        if isinstance(value := headers.get(key), int) and not isinstance(value, bool) and abs(value) < 2**53
    }
    timestamp = properties.timestamp
    return Properties(
        type=_short(properties.type),
        message_id=_short(properties.message_id),
        correlation_id=_short(properties.correlation_id),
        # The literal would close our channel (406): the broker takes it for a request that awaits a reply.
        reply_to=None if properties.reply_to == DIRECT_REPLY_TO else _short(properties.reply_to),
        timestamp=timestamp if isinstance(timestamp, int) and 0 <= timestamp < 2**53 else None,
        content_type=_short(properties.content_type) or "application/octet-stream",
        headers=sound,
    )


_SCALAR_HEADERS = ("v", "attempt", "sent_at", "expires_at", "resent", "replay", "batch")


def _short(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value.encode("utf-8", "replace")) <= 255 else None


def _text(value: object, default: str) -> str:
    return value if isinstance(value, str) else default
