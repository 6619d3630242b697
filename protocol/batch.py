"""Batches: many tasks of one name in one message, and many replies in one.

A batch is one message on its way and many tasks at its ends. Its body is an array of ``[id, arguments]``. What
is checked here is the frame around the tasks: the arguments of each stay bytes, and are decoded and held to the
limits by the worker that runs it, as those of a single task are, so that one that breaks the rules fails alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any, Final

from protocol.codec import decode, decode_all, elements, is_plain
from protocol.errors import ErrorCode, Malformed
from protocol.limits import Limits
from protocol.names import ID_LENGTH, are_ids, is_id
from protocol.reply import PackedReply

#: The ``type`` of a message with many replies.
BATCH: Final = "batch"
#: An array of two that begins with a string of 32 bytes, which an id is.
_HEAD: Final = b"\x92\xd9\x20"
_ARGUMENTS_AT: Final = len(_HEAD) + ID_LENGTH
_ID: Final = re.compile(rb"[0-9a-f]{32}")
_MAP_HEADS: Final = frozenset([*range(0x80, 0x90), 0xDE, 0xDF])


def pack_batch(entries: Collection[tuple[str, bytes]]) -> bytes:
    """The body of a batch: the id and the packed arguments of each of its tasks."""
    return _array_head(len(entries)) + b"".join(
        [part for task_id, arguments in entries for part in (_HEAD, task_id.encode("ascii"), arguments)]
    )


def read_batch(body: bytes, count: int, limits: Limits) -> list[tuple[str, bytes]]:
    """The id and the packed arguments of each task; ``count`` is what the header ``batch`` says.

    The arguments are maps of which nothing was built or looked at: ``decode_arguments`` may still refuse each.
    Raises ``Malformed``: ``too_large``, ``bad_properties`` (the header) or ``undecodable`` (the body).
    """
    if len(body) > limits.body_bytes:
        raise Malformed(ErrorCode.TOO_LARGE, f"body of {len(body)} bytes; the limit is {limits.body_bytes}")
    if count > limits.batch_tasks:
        raise Malformed(ErrorCode.TOO_LARGE, f"a batch of {count} tasks; the limit is {limits.batch_tasks}")
    parts = elements(body, count)
    if count < 1 or len(parts) != count:
        raise Malformed(
            ErrorCode.BAD_PROPERTIES, f"the header says a batch of {count} tasks, the body holds {len(parts)}"
        )
    entries = [_entry(part, limits) for part in parts]
    if len(dict(entries)) != count:
        raise Malformed(ErrorCode.UNDECODABLE, "a batch with an id twice")
    return entries


def read_plain_batch(body: bytes, count: int, limits: Limits) -> dict[str, dict[str, Any]] | None:
    """The arguments of each task by its id, where all of them are flat maps that break no rule.

    None for a batch that is to be looked at piece by piece: see ``read_batch``.
    """
    if len(body) > limits.body_bytes or not 0 < count <= limits.batch_tasks:
        return None
    entries = decode_all(body)
    if entries is None or len(entries) != count or {*map(type, entries)} != {list} or {*map(len, entries)} != {2}:
        return None
    ids = [task_id for task_id, _ in entries]
    if not are_ids(ids):
        return None
    batch: dict[str, Any] = dict(entries)
    for arguments in batch.values():
        if type(arguments) is not dict or not is_plain(arguments, limits):
            return None
    return batch if len(batch) == count else None


def join_replies(message_id: str, bodies: Sequence[bytes]) -> PackedReply:
    """One message with the replies that have these bodies. The caller keeps it within what one may hold."""
    return PackedReply(id=message_id, type=BATCH, body=_array_head(len(bodies)) + b"".join(bodies))


def _entry(part: bytes, limits: Limits) -> tuple[str, bytes]:
    if part.startswith(_HEAD) and _ID.fullmatch(part, len(_HEAD), _ARGUMENTS_AT):
        task_id, arguments = part[len(_HEAD) : _ARGUMENTS_AT].decode("ascii"), part[_ARGUMENTS_AT:]
    else:
        task_id, arguments = _odd_entry(part, limits)
    if arguments[0] not in _MAP_HEADS:
        raise Malformed(ErrorCode.UNDECODABLE, "the arguments of a task of a batch must be a map")
    return task_id, arguments


def _odd_entry(part: bytes, limits: Limits) -> tuple[str, bytes]:
    """Another program may write the array or the string in a longer form."""
    pair = elements(part, 2)
    if len(pair) == 2:
        task_id = decode(pair[0], limits)
        if is_id(task_id):
            return task_id, pair[1]
    raise Malformed(ErrorCode.UNDECODABLE, "a task of a batch must be [id, arguments], the id 32 hex digits")


def _array_head(length: int) -> bytes:
    if length < 16:
        return bytes((0x90 + length,))
    return b"\xdc" + length.to_bytes(2) if length < 65536 else b"\xdd" + length.to_bytes(4)
