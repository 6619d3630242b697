"""Messages as the broker writes them, read where they lie in a buffer. Pure; knows nothing of pika.

Only what is plain is read here. Whatever is not (a field of a rare type, text that is not UTF-8, a length that
does not fit) is left to pika, whose verdict holds: these functions then say ``None`` and have changed nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

METHOD, HEADER, BODY, END = 1, 2, 3, 0xCE
#: A frame has a head of 7 bytes and an end of one.
FRAME_HEAD = struct.Struct(">BHL")
AROUND = 8

DELIVER = b"\x00\x3c\x00\x3c"
ACK = b"\x00\x3c\x00\x50"
NACK = b"\x00\x3c\x00\x78"
#: A whole ack or nack frame.
CONFIRM_BYTES = 21
TAG_AND_BITS = struct.Struct(">QB")

BASIC = 60
CONTENT_HEAD = struct.Struct(">BHLHHQH")
_TABLE_SIZE = struct.Struct(">L")

#: The properties in the order of their flags from the highest bit: 0 is a short string, -1 a table, else bytes.
PROPERTIES: Final = (
    ("content_type", 0),
    ("content_encoding", 0),
    ("headers", -1),
    ("delivery_mode", 1),
    ("priority", 1),
    ("correlation_id", 0),
    ("reply_to", 0),
    ("expiration", 0),
    ("message_id", 0),
    ("timestamp", 8),
    ("type", 0),
    ("user_id", 0),
    ("app_id", 0),
    ("cluster_id", 0),
)
_ABSENT: Final[dict[str, Any]] = {name: None for name, _size in PROPERTIES}

#: Field types of whole numbers.
_NUMBERS = {
    ord(kind): struct.Struct(layout)
    for kind, layout in (
        ("b", ">b"), ("B", ">B"), ("U", ">h"), ("s", ">h"), ("u", ">H"), ("I", ">i"), ("i", ">I"), ("l", ">q"),
        ("L", ">q"),
    )
}  # fmt: skip
_TEXT, _TRUE_OR_FALSE = ord("S"), ord("t")
_IDS, _ID_BYTES, _LONG_LONG = frozenset(("correlation_id", "message_id")), 32, 8


#: Where the content that follows a method lies: the flags of its properties, where these begin and end, where the
#: body begins and ends, and the first byte after all of it.
Content = tuple[int, int, int, int, int, int]
#: The content has not arrived as a whole, and no whole frame is behind its method: wait.
UNFINISHED: Final[Content] = (0, 0, 0, 0, 0, 0)


def find_content(buffer: bytes, at: int, channel: int) -> Content | None:
    """The content that begins at ``at``; ``UNFINISHED``; or None if it is not one header and at most one body,
    side by side and framed well."""
    size = len(buffer)
    if size - at < AROUND:
        return UNFINISHED
    kind, number, length = FRAME_HEAD.unpack_from(buffer, at)
    if kind != HEADER or number != channel or length < CONTENT_HEAD.size - 7:
        return None
    body = at + AROUND + length
    if body > size:
        return UNFINISHED
    _, _, _, class_id, _, body_size, flags = CONTENT_HEAD.unpack_from(buffer, at)
    if class_id != BASIC or buffer[body - 1] != END:
        return None
    properties_at = at + CONTENT_HEAD.size
    if not body_size:
        return flags, properties_at, body - 1, body, body, body
    if size - body < AROUND:
        return UNFINISHED
    kind, number, length = FRAME_HEAD.unpack_from(buffer, body)
    if kind != BODY or number != channel or length != body_size:
        return None
    end = body + AROUND + length
    if end > size:
        return UNFINISHED
    if buffer[end - 1] != END:
        return None
    return flags, properties_at, body - 1, body + 7, end - 1, end


def read_deliver(buffer: bytes, at: int, end: int) -> tuple[int, bool, str, str] | None:
    """Tag, ``redelivered``, exchange and routing key of a delivery; ``at`` is behind its consumer tag."""
    if end - at < TAG_AND_BITS.size:
        return None
    tag, bits = TAG_AND_BITS.unpack_from(buffer, at)
    names = _read_names(buffer[at + TAG_AND_BITS.size : end])
    return None if names is None else (tag, bits & 1 != 0, *names)


@lru_cache(maxsize=64)
def _read_names(raw: bytes) -> tuple[str, str] | None:
    """Exchange and routing key."""
    try:
        middle = 1 + raw[0]
        exchange, routing_key = raw[1:middle].decode(), raw[middle + 1 :].decode()
        return (exchange, routing_key) if len(raw) == middle + 1 + raw[middle] else None
    except (IndexError, UnicodeDecodeError):
        return None


def read_properties(buffer: bytes, at: int, end: int, flags: int) -> dict[str, Any] | None:
    """All fourteen properties by their names, None where they are absent."""
    if flags & 1:
        return None
    found = _ABSENT.copy()
    try:
        for name, size in present(flags):
            if not size:
                start = at + 1
                at = start + buffer[at]
                found[name] = buffer[start:at].decode()
            elif size > 0:
                found[name] = int.from_bytes(buffer[at : at + size], "big")
                at += size
            else:
                found[name], at = _read_table(buffer, at, end)
    except (IndexError, ValueError, struct.error):
        return None
    return found if at <= end else None


def varying(flags: int, raw: bytes) -> Iterator[tuple[str, int, int]]:
    """What may differ between lists that are alike: its name, its first byte and the one after it. ``raw`` is a
    list that ``read_properties`` reads. Raises ``ValueError`` if a header stands in it twice."""
    at, keys = 0, set[str]()
    for name, size in present(flags):
        if not size:
            if raw[at] == _ID_BYTES and name in _IDS:
                yield name, at + 1, at + 1 + _ID_BYTES
            at += 1 + raw[at]
        elif size > 0:
            if size == _LONG_LONG:
                yield name, at, at + size
            at += size
        else:
            limit = at + 4 + _TABLE_SIZE.unpack_from(raw, at)[0]
            at += 4
            while at < limit:
                key_end = at + 1 + raw[at]
                key, kind, at = raw[at + 1 : key_end].decode(), raw[key_end], key_end + 1
                if key in keys:
                    raise ValueError("a header twice")
                keys.add(key)
                number = _NUMBERS.get(kind)
                if number is None:
                    at += 1 if kind == _TRUE_OR_FALSE else 4 + _TABLE_SIZE.unpack_from(raw, at)[0]
                    continue
                if number.size == _LONG_LONG:
                    yield f"{name}.{key}", at, at + number.size
                at += number.size


@lru_cache(maxsize=64)
def present(flags: int) -> tuple[tuple[str, int], ...]:
    """The entries of ``PROPERTIES`` that a list has."""
    return tuple(entry for number, entry in enumerate(PROPERTIES) if flags >> (15 - number) & 1)


def _read_table(buffer: bytes, at: int, end: int) -> tuple[dict[str, Any], int]:
    """A table of numbers, texts and truths. Raises ValueError, IndexError or struct.error over anything else."""
    table: dict[str, Any] = {}
    limit = at + 4 + _TABLE_SIZE.unpack_from(buffer, at)[0]
    if limit > end:
        raise ValueError("longer than its message")
    at += 4
    while at < limit:
        start = at + 1
        at = start + buffer[at]
        key = buffer[start:at].decode()
        kind = buffer[at]
        number = _NUMBERS.get(kind)
        if number is not None:
            table[key] = number.unpack_from(buffer, at + 1)[0]
            at += 1 + number.size
        elif kind == _TEXT:
            start = at + 5
            at = start + _TABLE_SIZE.unpack_from(buffer, at + 1)[0]
            table[key] = buffer[start:at].decode()
        elif kind == _TRUE_OR_FALSE:
            table[key] = buffer[at + 1] != 0
            at += 2
        else:
            raise ValueError("a field of another type")
    if at != limit:
        raise ValueError("a field is longer than its table")
    return table, at
