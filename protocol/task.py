"""A task as a message: what a dispatcher writes, what a worker reads, and the copy that a retry sends.

A copy is built from these fields alone. Whatever else a message carried (``x-death``, ``CC``, ``priority``,
``user_id``, ``expiration``, foreign headers) is left behind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from protocol.errors import ErrorCode, Malformed
from protocol.limits import Limits, cut
from protocol.names import APP_ID, CONTENT_TYPE, is_id, is_task_name
from protocol.properties import HeaderValue, Properties, Reader, ReceivedProperties, bad, optional_text
from protocol.reply_address import reply_kind

VERSION = 1
#: Upper bounds of what a header may claim: counts, and milliseconds (the year 2286).
_MANY = 1_000_000
_LATEST_MS = 10**13
_LATEST_S = _LATEST_MS // 1000
_NAME_BYTES = 255
_TRACE_HEADERS = ("traceparent", "tracestate")
_TRACE_BYTES = 1024
#: Of a history entry: its keys, numbers and lengths as AMQP encodes them.
_ENTRY_BYTES = 128
#: Of a copy: everything but its history, trace included.
_OTHER_HEADERS_BYTES = 3 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How one run of a task ended. ``error`` is an exception's type or an error code."""

    attempt: int
    error: str
    text: str
    worker: str
    started_ms: int
    ran_ms: int
    #: 0: there was no further attempt.
    retry_in_ms: int = 0


# Not frozen, like everything that is made for each task: a frozen one takes three times as long to make.
@dataclass(slots=True, kw_only=True)
class Task:
    """One task. Times are epoch milliseconds; 0 stands for *not given*."""

    id: str
    name: str
    body: bytes
    reply_to: str | None = None
    timestamp: int = 0
    sent_at: int = 0
    expires_at: int = 0
    attempt: int = 1
    resent: int = 0
    replay: int = 0
    #: When it was put back last.
    replayed_at: int = 0
    #: Number of tasks in the body; 0: the body is the arguments of one task.
    batch: int = 0
    #: The requester reads messages that hold replies to several of its tasks.
    joined_replies: bool = False
    history: tuple[Attempt, ...] = ()
    trace: dict[str, str] = field(default_factory=dict)

    def next_attempt(self, last: Attempt, limits: Limits) -> Task:
        """The copy that goes into the delay line after ``last`` failed."""
        return replace(self, attempt=self.attempt + 1, history=self.history_with(last, limits))

    def history_with(self, last: Attempt, limits: Limits) -> tuple[Attempt, ...]:
        """The history and ``last``, its texts cut; beyond the limits the first and the latest entries remain."""
        text = cut(last.text, limits.error_text_bytes)
        entries = (*self.history, replace(last, error=cut(last.error, _NAME_BYTES), text=text))
        surplus = len(entries) - limits.history_entries
        if surplus > 0:
            entries = (entries[0], *entries[1 + surplus :])
        while len(entries) > 1 and _header_bytes(entries) > limits.header_bytes - _OTHER_HEADERS_BYTES:
            entries = (entries[0], *entries[2:])
        return entries


def _header_bytes(history: tuple[Attempt, ...]) -> int:
    """About as many bytes as AMQP takes for it; never fewer."""
    return sum(
        _ENTRY_BYTES + sum(len(text.encode()) for text in (entry.error, entry.text, entry.worker))
        for entry in history
    )


def task_properties(task: Task, *, expiration_ms: int | None = None) -> Properties:
    """Properties of a task, and of its retry copy.

    ``expiration_ms`` is for a first publish without delay only: in the delay line it would make a task early.
    """
    headers: dict[str, HeaderValue] = {"v": VERSION}
    if task.attempt != 1:
        headers["attempt"] = task.attempt
    if task.sent_at:
        headers["sent_at"] = task.sent_at
    if task.expires_at:
        headers["expires_at"] = task.expires_at
    if task.resent:
        headers["resent"] = task.resent
    if task.replay:
        headers["replay"] = task.replay
        headers |= {"replayed_at": task.replayed_at} if task.replayed_at else {}
    if task.batch:
        headers["batch"] = task.batch
    if task.joined_replies:
        headers["joined_replies"] = 1
    if task.history:
        headers["history"] = [attempt_table(entry) for entry in task.history]
    if task.trace:
        headers.update(task.trace)
    return Properties(
        type=task.name,
        message_id=task.id,
        correlation_id=task.id if task.reply_to is not None else None,
        reply_to=task.reply_to,
        timestamp=task.timestamp or None,
        expiration=None if expiration_ms is None else str(expiration_ms),
        app_id=APP_ID,
        headers=headers,
    )


def attempt_table(entry: Attempt) -> dict[str, HeaderValue]:
    """A history entry as it stands in the ``history`` header."""
    return {
        "attempt": entry.attempt,
        "error": entry.error,
        "text": entry.text,
        "worker": entry.worker,
        "started": entry.started_ms,
        "ran_ms": entry.ran_ms,
        "retry_in_ms": entry.retry_in_ms,
    }


def read_task(properties: ReceivedProperties, body: bytes, limits: Limits) -> Task:
    """Check a message's properties and build the task. The body is taken along, not looked into.

    Raises ``Malformed``: ``unsupported_version``, ``bad_properties``, ``bad_reply_to`` or ``too_large``.
    """
    headers = Reader(properties.headers, "headers")
    if headers.integer("v", 0, -_LATEST_MS, _LATEST_MS) != VERSION:
        raise Malformed(ErrorCode.UNSUPPORTED_VERSION, f"header v must be {VERSION}")
    if properties.content_type not in (CONTENT_TYPE, None) or properties.content_encoding is not None:
        raise bad(f"content_type must be {CONTENT_TYPE}, without content_encoding")
    if not is_id(properties.message_id):
        raise bad("message_id must be 32 lower-case hexadecimal digits")
    if not is_task_name(properties.type):
        raise bad("type must be a task's name")
    if properties.correlation_id not in (properties.message_id, None):
        raise bad("correlation_id must equal message_id")
    reply_to = optional_text(properties.reply_to, "reply_to")
    if reply_kind(reply_to) is None:
        raise Malformed(
            ErrorCode.BAD_REPLY_TO, "reply_to is neither a direct reply address of this broker nor a mailbox"
        )
    if len(body) > limits.body_bytes:
        raise Malformed(ErrorCode.TOO_LARGE, f"body of {len(body)} bytes; the limit is {limits.body_bytes}")
    return Task(
        id=properties.message_id,
        name=properties.type,
        body=body,
        reply_to=reply_to,
        timestamp=Reader({"timestamp": properties.timestamp or 0}, "properties").integer(
            "timestamp", 0, 0, _LATEST_S
        ),
        sent_at=headers.integer("sent_at", 0, 0, _LATEST_MS),
        expires_at=headers.integer("expires_at", 0, 0, _LATEST_MS),
        attempt=headers.integer("attempt", 1, 1, _MANY),
        resent=headers.integer("resent", 0, 0, _MANY),
        replay=headers.integer("replay", 0, 0, _MANY),
        replayed_at=headers.integer("replayed_at", 0, 0, _LATEST_MS),
        batch=headers.integer("batch", 0, 0, _MANY),
        joined_replies=headers.integer("joined_replies", 0, 0, 1) == 1,
        history=tuple(_read_attempt(entry, limits) for entry in headers.array("history", limits.history_entries)),
        trace=_read_trace(properties.headers),
    )


#: The places in which tasks of one requester differ, in their order on the wire. See ``same_again``.
PLACES = ("headers.sent_at", "correlation_id", "message_id", "timestamp")
_ID = re.compile(rb"[0-9a-f]{32}")


def same_again(
    task: Task, body: bytes, sent_at: bytes, correlation_id: bytes, message_id: bytes, timestamp: bytes
) -> Task | None:
    """The task of a message that differs from another's in its body and these places alone: its bytes there. None
    if that is for ``read_task`` to judge. The body is of an allowed size."""
    sent_ms, timestamp_s = int.from_bytes(sent_at), int.from_bytes(timestamp)
    if (
        correlation_id != message_id
        or _ID.fullmatch(message_id) is None
        or sent_ms > _LATEST_MS
        or timestamp_s > _LATEST_S
    ):
        return None
    return Task(
        id=message_id.decode("ascii"),
        name=task.name,
        body=body,
        reply_to=task.reply_to,
        timestamp=timestamp_s,
        sent_at=sent_ms,
        expires_at=task.expires_at,
        attempt=task.attempt,
        resent=task.resent,
        replay=task.replay,
        replayed_at=task.replayed_at,
        batch=task.batch,
        joined_replies=task.joined_replies,
        history=task.history,
        trace=task.trace,
    )


def _read_attempt(table: object, limits: Limits) -> Attempt:
    entry = Reader(table, "history")
    return Attempt(
        attempt=entry.integer("attempt", 1, 1, _MANY),
        error=cut(entry.text("error"), _NAME_BYTES),
        text=cut(entry.text("text", ""), limits.error_text_bytes),
        worker=cut(entry.text("worker", ""), _NAME_BYTES),
        started_ms=entry.integer("started", 0, 0, _LATEST_MS),
        ran_ms=entry.integer("ran_ms", 0, 0, _LATEST_MS),
        retry_in_ms=entry.integer("retry_in_ms", 0, 0, _LATEST_MS),
    )


def _read_trace(headers: object) -> dict[str, str]:
    """Trace headers are passed through where they are sound; a task is not refused over one that is not."""
    found = {key: headers.get(key) if isinstance(headers, dict) else None for key in _TRACE_HEADERS}
    return {
        key: value
        for key, value in found.items()
        if isinstance(value, str) and len(value.encode()) <= _TRACE_BYTES
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """What a message must at least say before anyone can learn of its end."""

    id: str
    reply_to: str
    attempt: int = 1
    replay: int = 0


def read_requester(properties: ReceivedProperties) -> Requester | None:
    """Who gets the failure of a message that may be malformed otherwise; None if nobody may."""
    reply_to = properties.reply_to
    if not isinstance(reply_to, str) or not is_id(properties.message_id) or reply_kind(reply_to) is None:
        return None
    headers = properties.headers if isinstance(properties.headers, dict) else {}
    attempt, replay = (_sound(headers.get(name), least) for name, least in (("attempt", 1), ("replay", 0)))
    return Requester(id=properties.message_id, reply_to=reply_to, attempt=attempt, replay=replay)


def _sound(value: object, least: int) -> int:
    """A number of a message that may be malformed; the least one, if it is none."""
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MANY:
        return value
    return least
