"""Properties that no honest client sends, encoded by hand, by the name of what is wrong with them.

Each is a change of a well-formed task's properties (``hostile_socket.task_fields``), with the code of its refusal;
None: it is none of our business, and the task is done.
"""

from __future__ import annotations

import struct
from typing import Final

from protocol.names import new_id
from tests.support.hostile import header_timestamp, nested_tables
from tests.support.hostile_socket import field, long, short

BAD = "bad_properties"
NOT_UTF8: Final = b"\xff\xfe"
#: Property → its bytes, or None to leave it out.
Change = dict[str, bytes | None]

_VERSION: Final = field("v", b"I", struct.pack(">i", 1))
#: What one of every kind of field is written as; of numbers, the number 1.
KINDS: Final[dict[bytes, bytes]] = {
    b"t": b"\x01",
    b"b": b"\x01",
    b"B": b"\x01",
    b"s": b"\x00\x01",
    b"u": b"\x00\x01",
    b"I": bytes(3) + b"\x01",
    b"i": bytes(3) + b"\x01",
    b"l": bytes(7) + b"\x01",
    b"L": bytes(7) + b"\x01",
    b"f": struct.pack(">f", 1),
    b"d": struct.pack(">d", 1),
    b"D": bytes(4) + b"\x01",
    b"S": long(b"1"),
    b"x": long(b"1"),
    b"A": long(b""),
    b"F": long(b""),
    b"T": bytes(7) + b"\x01",
    b"V": b"",
}
#: pika gives fractions as whole numbers.
_NUMBERS: Final = b"bBsuIilLfd"
_COUNTS: Final = ("attempt", "sent_at", "resent", "replay")


def table(*fields: bytes) -> Change:
    """These headers beside the version."""
    return {"headers": long(_VERSION + b"".join(fields))}


def _of_kind(key: str, kind: bytes) -> str | None:
    """What becomes of a task with one of the protocol's headers of this kind."""
    if key in ("traceparent", "foreign"):
        return None
    if key == "history":
        return None if kind == b"A" else BAD
    if kind not in _NUMBERS:
        return BAD
    # The body is that of one task, and no array of them.
    return "undecodable" if key == "batch" else None


KIND_OF_HEADER: Final[dict[str, tuple[str | None, Change]]] = {
    f"{key} of kind {kind.decode()}": (_of_kind(key, kind), table(field(key, kind, value)))
    for key in (*_COUNTS, "batch", "history", "traceparent", "foreign")
    for kind, value in KINDS.items()
} | {
    f"v of kind {kind.decode()}": (
        None if kind in _NUMBERS else BAD,
        {"headers": long(field("v", kind, value))},
    )
    for kind, value in KINDS.items()
}


def _entry(*fields: bytes) -> Change:
    """A history of one entry."""
    return table(field("history", b"A", long(b"F" + long(b"".join(fields)))))


def _nested_arrays(depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = b"A" + long(inner)
    return inner[1:]


def _many(count: int, item: bytes) -> bytes:
    return long(item * count)


_ERROR: Final = field("error", b"S", long(b"E"))
_FIELDS_128_KB: Final = b"".join(field(b"%07x" % number, b"V", b"") for number in range(14_000))

HEADERS: Final[dict[str, tuple[str | None, Change]]] = {
    "no headers": ("unsupported_version", {"headers": None}),
    "an empty table": ("unsupported_version", {"headers": long(b"")}),
    "version 2": ("unsupported_version", {"headers": long(field("v", b"b", b"\x02"))}),
    "version -1": ("unsupported_version", {"headers": long(field("v", b"b", b"\xff"))}),
    "attempt 0": (BAD, table(field("attempt", b"b", b"\x00"))),
    "attempt -1": (BAD, table(field("attempt", b"b", b"\xff"))),
    "attempt 2^31": (BAD, table(field("attempt", b"l", struct.pack(">q", 2**31)))),
    "expires in the year 9999": (BAD, table(field("expires_at", b"l", struct.pack(">q", 253_402_300_799_000)))),
    "sent before the epoch": (BAD, table(field("sent_at", b"l", struct.pack(">q", -1)))),
    "a time of 2^62": (BAD, table(header_timestamp(2**62))),
    "a time of 2^63": (BAD, table(header_timestamp(2**63))),
    "a time in milliseconds": (BAD, table(header_timestamp(1_700_000_000_000))),
    "a decimal of 255 places": (None, table(field("foreign", b"D", b"\xff\x7f\xff\xff\xff"))),
    "200 nested tables": (None, table(nested_tables(200))),
    "1,000 nested tables": (BAD, table(nested_tables(1000))),
    "1,000 nested arrays": (BAD, table(field("foreign", b"A", _nested_arrays(1000)))),
    "1,000 tables as history": (BAD, table(field("history", b"F", long(nested_tables(1000))))),
    "a text of 128 kB": (None, table(field("foreign", b"S", long(b"x" * 130_000)))),
    "14,000 fields": (None, table(_FIELDS_128_KB)),
    "25,000 tables": (None, table(field("foreign", b"A", _many(25_000, b"F" + bytes(4))))),
    "65,000 truths": (None, table(field("foreign", b"A", _many(65_000, b"t\x01")))),
    "a history of 11": (BAD, table(field("history", b"A", _many(11, b"F" + long(_ERROR))))),
    "a history of 25,000": (BAD, table(field("history", b"A", _many(25_000, b"F" + bytes(4))))),
    "a history of numbers": (BAD, table(field("history", b"A", _many(3, b"I" + bytes(4))))),
    "a history without an error": (BAD, _entry()),
    "a history that is not UTF-8": (BAD, _entry(field("error", b"S", long(NOT_UTF8)))),
    "a history of 128 kB of text": (None, _entry(_ERROR, field("text", b"S", long(b"x" * 130_000)))),
    "a history that ran for ever": (BAD, _entry(_ERROR, field("ran_ms", b"l", b"\x7f" + b"\xff" * 7))),
    "a key that is not UTF-8": (None, table(field(NOT_UTF8, b"S", long(b"x")))),
    "a value that is not UTF-8": (None, table(field("foreign", b"S", long(NOT_UTF8)))),
    "a trace that is not UTF-8": (None, table(field("traceparent", b"S", long(NOT_UTF8)))),
    "a key of 255 bytes": (None, table(field("k" * 255, b"S", long(b"x")))),
    "a key without a name": (None, table(field("", b"S", long(b"x")))),
}

_LONGEST: Final = short("x" * 255)

#: Properties other than the headers. ``expiration`` and ``user_id`` are missing: the broker itself refuses them.
SHORT_STRINGS: Final[dict[str, tuple[str | None, Change]]] = {
    **{
        f"{name} is not UTF-8": (BAD, {name: short(NOT_UTF8)})
        for name in ("content_type", "content_encoding", "correlation_id", "reply_to", "message_id", "type")
    },
    **{f"{name} is not UTF-8": (None, {name: short(NOT_UTF8)}) for name in ("app_id", "cluster_id")},
    **{
        f"{name} of 255 bytes": (BAD, {name: _LONGEST})
        for name in ("content_type", "content_encoding", "correlation_id", "message_id", "type")
    },
    **{f"{name} of 255 bytes": (None, {name: _LONGEST}) for name in ("app_id", "cluster_id")},
    **{
        f"{name} of 255 bytes that are not UTF-8": (BAD, {name: short(b"\xff" * 255)})
        for name in ("content_type", "content_encoding", "correlation_id", "reply_to", "message_id", "type")
    },
    "reply_to of 255 bytes": ("bad_reply_to", {"reply_to": _LONGEST}),
    "an empty reply_to": (None, {"reply_to": short("")}),
    "no id": (BAD, {"message_id": None}),
    "an empty id": (BAD, {"message_id": short("")}),
    "an id of 64 digits": (BAD, {"message_id": short("0" * 64)}),
    "an id in upper case": (BAD, {"message_id": short(new_id().upper().replace("0", "A"))}),
    "another correlation": (BAD, {"correlation_id": short(new_id())}),
    "no type": (BAD, {"type": None}),
    "gzip": (BAD, {"content_encoding": short("gzip")}),
    "zstd": (BAD, {"content_encoding": short("zstd")}),
    "content type json": (BAD, {"content_type": short("application/json")}),
    "content type yaml": (BAD, {"content_type": short("application/x-yaml")}),
    "content type pickle": (BAD, {"content_type": short("application/x-python-serialize")}),
    "no content type": (None, {"content_type": None}),
    "a timestamp of 2^62": (BAD, {"timestamp": struct.pack(">Q", 2**62)}),
    "a timestamp of 2^64 - 1": (BAD, {"timestamp": b"\xff" * 8}),
    "priority 255": (None, {"priority": b"\xff"}),
    "transient": (None, {"delivery_mode": b"\x01"}),
}

#: What is no task's name, or none that this installation has.
NAMES: Final[dict[str, str]] = {
    "os.system": "unknown_task",
    "__class__": BAD,
    "note.__init__": BAD,
    "tests.support.handlers:crash": BAD,
    "worker.tasks": "unknown_task",
    "../note": BAD,
    "note\n": BAD,
    "note\x00": BAD,
    "note\r\n\x1b[2Jgone": BAD,
    "n\u043ete": BAD,  # a Cyrillic o
    "Note": BAD,
    " note": BAD,
    "note.": BAD,
    "": BAD,
    "a" * 100: "unknown_task",
    "a" * 101: BAD,
}
