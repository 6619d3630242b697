"""Replies: how a task ended, written by workers and read by dispatchers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any

import msgpack

from protocol.codec import SCALARS, decode, decode_all, elements
from protocol.errors import ErrorCode, Malformed
from protocol.limits import JOINED_BYTES, Limits, cut
from protocol.names import APP_ID, are_ids, is_id
from protocol.properties import Properties

DONE = "done"
FAILED = "failed"
#: A map of six or seven pairs, and the key and the head of an id; then the other keys, and the smallest numbers.
_DONE_HEADS = (b"\x86\xa2id\xd9\x20", b"\x87\xa2id\xd9\x20")
_ATTEMPTS, _WORKER, _QUEUED, _RAN, _REPLAY, _RESULT = (
    msgpack.packb(key) for key in ("attempts", "worker", "queued_ms", "ran_ms", "replay", "result")
)
_SHORTEST = 64
_NAME_BYTES = 255
#: More bytes than what stands before a result.
_BEFORE_RESULT = 1024
_PAIRS = 6
_VALUES = itemgetter("id", "result", "attempts", "queued_ms", "ran_ms", "worker")
_ID_FIRST = re.compile(rb"[\x80-\x8f]\xa2id\xd9\x20([0-9a-f]{32})")
_SMALL = [bytes((number,)) for number in range(128)]
_ARRAY_HEADS = frozenset(bytes((head,)) for head in (*range(0x90, 0xA0), 0xDC, 0xDD))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a task failed for good. ``code`` is an ``ErrorCode`` (a newer worker may know more of them)."""

    code: str
    #: The exception's type, or the code again where there was no exception.
    type: str
    text: str


# These two are made for each reply, and are not frozen because a frozen one takes twice as long to make.
@dataclass(slots=True, kw_only=True)
class Run:
    """What every reply says beside its result. Times in milliseconds."""

    attempts: int
    #: ``host:pid`` of the worker that answered.
    worker: str
    #: From the first dispatch to the start of the last attempt.
    queued_ms: int = 0
    ran_ms: int = 0
    #: How often a person had put its dead letter back: each replay has an end of its own.
    replay: int = 0


@dataclass(slots=True, kw_only=True)
class Reply:
    """The end of one task: ``failure`` is None if it is done, and then ``result`` holds."""

    id: str
    run: Run
    result: Any = None
    failure: Failure | None = None

    def to_map(self) -> dict[str, Any]:
        """The reply as its body's map."""
        end = {"result": self.result} if self.failure is None else {"error": _error_map(self.failure)}
        return {"id": self.id, **end, **_run_map(self.run)}


@dataclass(slots=True, kw_only=True)
class PackedReply:
    """A reply ready to send; kept in the ledger to answer a redelivery in the same words."""

    id: str
    type: str
    body: bytes

    @property
    def properties(self) -> Properties:
        return Properties(type=self.type, correlation_id=self.id, app_id=APP_ID)


def pack_done(task_id: str, packed_result: bytes, run: Run) -> PackedReply:
    """A reply around a result that is msgpack already, and is not decoded again. ``task_id`` is an id."""
    head, tail = _around(run)
    return PackedReply(id=task_id, type=DONE, body=head + task_id.encode("ascii") + tail + packed_result)


def done_bodies(ids: Sequence[str], packed_results: Sequence[bytes], runs: Sequence[Run]) -> list[bytes]:
    """The bodies of such replies. Neighbours that say the same share their ``Run``."""
    last: Run | None = None
    bodies = []
    for task_id, packed_result, run in zip(ids, packed_results, runs, strict=True):
        if run is not last:
            head, tail = _around(run)
            last = run
        bodies.append(head + task_id.encode("ascii") + tail + packed_result)
    return bodies


def _around(run: Run) -> tuple[bytes, bytes]:
    """What stands before the id, and what between it and the result."""
    tail = (
        _from_attempts(run.attempts, run.worker),
        _number(run.queued_ms),
        _RAN,
        _number(run.ran_ms),
        _REPLAY + _number(run.replay) if run.replay else b"",
        _RESULT,
    )
    return _DONE_HEADS[run.replay > 0], b"".join(tail)


def _number(value: int) -> bytes:
    packed: bytes = _SMALL[value] if 0 <= value < len(_SMALL) else msgpack.packb(value)
    return packed


@lru_cache(maxsize=64)
def _from_attempts(attempts: int, worker: str) -> bytes:
    """What one worker says in most of its replies."""
    packed: bytes = msgpack.packb(worker)
    return b"".join((_ATTEMPTS, _number(attempts), _WORKER, packed, _QUEUED))


def run_of(body: bytes) -> Run:
    """What such a reply says of its run. Its result, which comes last, is not looked at."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(body[:_BEFORE_RESULT])
    said = {unpacker.unpack(): unpacker.unpack() for _ in range(unpacker.read_map_header() - 1)}
    del said["id"]
    return Run(**said)


def pack_failed(task_id: str, failure: Failure, run: Run, limits: Limits) -> PackedReply:
    """A reply with a failure. Its texts are cut to the limit."""
    text = cut(failure.text, limits.error_text_bytes)
    error = {"code": failure.code, "type": cut(failure.type, _NAME_BYTES), "text": text}
    body = msgpack.packb({"id": task_id, "error": error, **_run_map(run)})
    return PackedReply(id=task_id, type=FAILED, body=body)


@dataclass(slots=True)
class Unreadable:
    """What should be a reply, and why it is none."""

    error: Malformed
    #: The id of its task, where it can be read.
    id: str | None = None
    #: It is one of several in a message.
    is_beside_others: bool = False


def read_replies(body: bytes, limits: Limits) -> list[Reply | Unreadable]:
    """The replies that a message holds: one, or several that left together, each within the limits of one.

    One that cannot be read does not harm those beside it.
    """
    if body[:1] not in _ARRAY_HEADS:
        return [_readable(body, limits)]
    most = max(limits.for_reply.body_bytes, JOINED_BYTES)
    try:
        if len(body) > most:
            raise Malformed(ErrorCode.TOO_LARGE, f"replies of {len(body)} bytes; the limit is {most}")
        return _plain(body, limits) or _one_by_one(body, limits)
    except Malformed as error:
        return [Unreadable(error)]


def _one_by_one(body: bytes, limits: Limits) -> list[Reply | Unreadable]:
    # A reply that makes sense is longer than this.
    count = len(body) // _SHORTEST + 1
    parts = elements(body, count)
    if len(parts) > count:
        raise Malformed(ErrorCode.UNDECODABLE, "more replies than their bytes can hold")
    return [_readable(part, limits, is_beside_others=len(parts) > 1) for part in parts]


def _plain(body: bytes, limits: Limits) -> list[Reply | Unreadable] | None:
    """All replies at once, where each has six pairs and a scalar for a result: nothing that the limits of one are
    about. None for what is to be looked at piece by piece.
    """
    entries = decode_all(body) if len(body) <= limits.for_reply.body_bytes else None
    if not entries or {*map(type, entries)} != {dict} or {*map(len, entries)} != {_PAIRS}:
        return None
    try:
        ids, results, attempts, queued_ms, ran_ms, workers = zip(*map(_VALUES, entries), strict=True)
    except KeyError:
        return None
    numbers = *attempts, *queued_ms, *ran_ms
    if {*map(type, numbers)} != {int} or min(numbers) < 0 or {*map(type, workers)} != {str}:
        return None
    if not ({*map(type, results)} <= SCALARS and are_ids(ids)):
        return None
    replies: list[Reply | Unreadable] = []
    said = None
    says = zip(attempts, queued_ms, ran_ms, workers, strict=True)
    for task_id, result, one in zip(ids, results, says, strict=True):
        # Most that come together say the same.
        if one != said:
            said, run = one, Run(attempts=one[0], worker=one[3], queued_ms=one[1], ran_ms=one[2])
        replies.append(Reply(id=task_id, run=run, result=result))
    return replies


def _readable(part: bytes, limits: Limits, *, is_beside_others: bool = False) -> Reply | Unreadable:
    try:
        return _read(decode(part, limits.for_reply))
    except Malformed as error:
        found = _ID_FIRST.match(part)
        # Without its traceback, which would hold the whole message.
        error.__traceback__ = None
        return Unreadable(error, None if found is None else found[1].decode("ascii"), is_beside_others)


def _read(entry: Any) -> Reply:
    # A decoded value has exactly one of msgpack's types, so ``type`` distinguishes a number from a boolean.
    task_id: Any = entry.get("id") if type(entry) is dict else None
    if not is_id(task_id):
        raise Malformed(ErrorCode.UNDECODABLE, "a reply must be a map with the task's id")
    run = _read_run(entry)
    if "result" in entry:
        return Reply(id=task_id, run=run, result=entry["result"])
    error = entry.get("error")
    if type(error) is not dict:
        raise Malformed(ErrorCode.UNDECODABLE, "a reply must hold result or error")
    failure = Failure(code=_text(error, "code"), type=_text(error, "type"), text=_text(error, "text"))
    return Reply(id=task_id, run=run, failure=failure)


def _read_run(entry: dict[str, Any]) -> Run:
    attempts, queued_ms, ran_ms = entry.get("attempts"), entry.get("queued_ms"), entry.get("ran_ms")
    replay = entry.get("replay", 0)
    if type(attempts) is type(queued_ms) is type(ran_ms) is type(replay) is int:
        worker = _text(entry, "worker")
        if min(attempts, queued_ms, ran_ms, replay) >= 0:
            return Run(attempts=attempts, worker=worker, queued_ms=queued_ms, ran_ms=ran_ms, replay=replay)
    raise Malformed(
        ErrorCode.UNDECODABLE, "a reply's attempts, queued_ms, ran_ms and replay must be numbers, 0 or more"
    )


def _text(table: dict[str, Any], key: str) -> str:
    value = table.get(key)
    if type(value) is not str:
        raise Malformed(ErrorCode.UNDECODABLE, f"a reply's {key} must be a string")
    return value


def _run_map(run: Run) -> dict[str, Any]:
    return {
        "attempts": run.attempts,
        "worker": run.worker,
        "queued_ms": run.queued_ms,
        "ran_ms": run.ran_ms,
        **({"replay": run.replay} if run.replay else {}),
    }


def _error_map(failure: Failure) -> dict[str, str]:
    return {"code": failure.code, "type": failure.type, "text": failure.text}
