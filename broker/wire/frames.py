"""One direction of a connection as frames: ``Reader.feed`` takes bytes cut anywhere, and never raises.

Every byte is in exactly one frame; bytes that make no sense become one frame ``garbage``, and that direction is
passed on unread from there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from broker.wire.grammar import METHODS, PROPERTIES
from broker.wire.values import Cursor, Unreadable, Value

_HEAD: Final = struct.Struct(">BHL")
_END: Final = 0xCE
_KINDS: Final = {1: "method", 2: "header", 3: "body", 8: "heartbeat"}
_PROTOCOL_HEADER_BYTES: Final = 8
#: RabbitMQ negotiates 131,072 bytes at most unless configured otherwise.
_LONGEST: Final = 1 << 24
#: Fields that hold a login. They are overwritten at equal length before anything can show them.
_SECRETS: Final = frozenset({"response", "new_secret"})
_WITH_SECRETS: Final = frozenset({"connection.start-ok", "connection.secure-ok", "connection.update-secret"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """``kind``: method, header, body, heartbeat, protocol (the header of the connection), garbage."""

    kind: str
    channel: int = 0
    #: Of a method, in the specification's words: ``basic.publish``.
    method: str = ""
    #: Of a method its fields, of a content header its properties; ``body_size`` beside them.
    fields: dict[str, Value] = field(default_factory=dict)
    #: All of it, with head and end; secrets in it are overwritten.
    raw: bytes = b""
    #: Why its payload could not be read, though it is framed well.
    problem: str = ""

    @property
    def payload(self) -> bytes:
        """Without head and end."""
        return self.raw[_HEAD.size : -1]


class Reader:
    """Bytes to frames."""

    def __init__(self, *, by_client: bool) -> None:
        """``by_client``: the direction that begins with the protocol header."""
        self._buffer = bytearray()
        self._starts = by_client
        #: True after bytes that make no sense.
        self.is_lost = False

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete."""
        self._buffer += data
        frames = []
        while not self.is_lost and (size := self._next_size()) is not None:
            raw = bytes(self._buffer[:size])
            del self._buffer[:size]
            frames.append(self._frame(raw))
        if self.is_lost and self._buffer:
            frames.append(Frame(kind="garbage", raw=bytes(self._buffer)))
            self._buffer.clear()
        return frames

    def _next_size(self) -> int | None:
        """Of the next frame, if all of it is there."""
        buffer = self._buffer
        # A broker that does not speak the version of its client answers with a protocol header.
        if buffer.startswith(b"AMQP"):
            return _PROTOCOL_HEADER_BYTES if len(buffer) >= _PROTOCOL_HEADER_BYTES else None
        if len(buffer) < _HEAD.size:
            return None
        kind, _, size = _HEAD.unpack_from(buffer)
        whole = _HEAD.size + size + 1
        if self._starts or kind not in _KINDS or size > _LONGEST:
            self.is_lost = True
            return None
        if len(buffer) < whole:
            return None
        if buffer[whole - 1] != _END:
            self.is_lost = True
            return None
        return int(whole)

    def _frame(self, raw: bytes) -> Frame:
        if raw.startswith(b"AMQP"):
            self._starts = False
            return Frame(kind="protocol", raw=raw, fields={"version": ".".join(map(str, raw[5:]))})
        number, channel, _ = _HEAD.unpack_from(raw)
        kind = _KINDS[number]
        payload = raw[_HEAD.size : -1]
        if kind == "method":
            return _method(channel, payload, raw)
        if kind == "header":
            return _header(channel, payload, raw)
        return Frame(kind=kind, channel=channel, raw=raw)


def _method(channel: int, payload: bytes, raw: bytes) -> Frame:
    cursor, fields, name = Cursor(payload), dict[str, Value](), "?"
    try:
        numbers = cursor.number("h"), cursor.number("h")
        known = METHODS.get(numbers)
        name = known.name if known else f"{numbers[0]}.{numbers[1]}"
        for field_name, kind in known.fields if known else ():
            value = cursor.field(kind)
            if field_name in _SECRETS and isinstance(value, bytes):
                hidden = b"*" * len(value)
                raw = raw[: _HEAD.size + cursor.at - len(value)] + hidden + raw[_HEAD.size + cursor.at :]
                value = hidden
            if field_name != "reserved":
                fields[field_name] = value
        problem = "" if known and cursor.at == len(payload) else "there are bytes that no field takes"
    except Unreadable as error:
        problem = str(error)
        if name in _WITH_SECRETS:
            # What cannot be read may hold one anywhere.
            raw = raw[: _HEAD.size + 4] + b"*" * (len(raw) - _HEAD.size - 5) + raw[-1:]
            fields.clear()
    return Frame(kind="method", channel=channel, method=name, fields=fields, raw=raw, problem=problem)


def _header(channel: int, payload: bytes, raw: bytes) -> Frame:
    cursor, fields = Cursor(payload), dict[str, Value]()
    try:
        cursor.take(4)  # the class, which is always basic, and the weight, which is always 0
        fields["body_size"] = cursor.number("q")
        flags = more = cursor.number("h")
        while more & 1:
            more = cursor.number("h")
        for place, (name, kind) in enumerate(PROPERTIES):
            if flags >> (15 - place) & 1:
                fields[name] = cursor.field(kind)
        problem = "" if cursor.at == len(payload) else "there are bytes that no property takes"
    except Unreadable as error:
        problem = str(error)
    return Frame(kind="header", channel=channel, fields=fields, raw=raw, problem=problem)
