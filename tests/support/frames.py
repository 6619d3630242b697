"""What AMQP 0-9-1 frames say, read off the wire as they pass: compact events, and never an exception.

Written from the specification and nothing else: neither pika nor any code of ours is asked, so that both can be
judged by it (https://www.rabbitmq.com/amqp-0-9-1-protocol). Bodies are skipped but for those of batches, which are
read by msgpack; properties are read only as far as they name a message. Bytes that make no sense become one event
``garbage``, and that direction is not read on.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, Literal

import msgpack

By = Literal["client", "broker", "proxy"]

_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
_FRAME_END = 0xCE
_FRAME_HEAD = struct.Struct(">BHL")
_PROTOCOL_HEADER_SIZE = 8
#: All frames fit into the frame size that RabbitMQ negotiates (131,072 bytes) many times over.
_LONGEST = 1 << 20
_NAME = b"\x0fconnection_nameS"
_RESENT = b"\x06resent"
_BATCH = b"\x05batch"
#: The type of a message with many replies.
_MANY = "batch"
#: Field types of whole numbers, and how each is packed.
_WHOLE = {b"b": ">b", b"B": ">B", b"s": ">h", b"u": ">H", b"I": ">i", b"i": ">I", b"l": ">q", b"L": ">q"}

#: Class and method → kind of event and the fields at its start: octet, short, long, quad, string.
_METHODS: dict[tuple[int, int], tuple[str, str]] = {
    (10, 11): ("hello", ""),
    (10, 50): ("close", "code:h"),
    (10, 60): ("blocked", ""),
    (10, 61): ("unblocked", ""),
    (20, 10): ("channel_open", ""),
    (20, 40): ("channel_close", "code:h"),
    (50, 30): ("purge", "_:h queue:s"),
    (60, 10): ("qos", "_:l prefetch:h bits:o"),
    (60, 20): ("consume", "_:h queue:s name:s bits:o"),
    (60, 30): ("cancel", "name:s"),
    (60, 31): ("cancel_ok", "name:s"),
    (60, 40): ("publish", "_:h exchange:s routing_key:s bits:o"),
    (60, 50): ("return", "code:h _:s exchange:s routing_key:s"),
    (60, 60): ("deliver", "name:s tag:q bits:o exchange:s routing_key:s"),
    (60, 70): ("get", "_:h queue:s"),
    (60, 71): ("get_ok", "tag:q bits:o exchange:s routing_key:s"),
    (60, 80): ("ack", "tag:q bits:o"),
    (60, 90): ("reject", "tag:q bits:o"),
    (60, 120): ("nack", "tag:q bits:o"),
    (85, 10): ("confirm_select", ""),
}
#: Kinds that a content header follows; the event is complete with it.
_WITH_CONTENT = {"publish", "return", "deliver", "get_ok"}
#: The same methods have another meaning when the broker sends them.
_BY_BROKER = {"ack": "confirm", "nack": "refuse"}
#: Kind → what its bits mean, from the lowest.
_BITS = {
    "qos": ("whole_channel",),
    "consume": ("", "no_ack"),
    "publish": ("mandatory",),
    "deliver": ("redelivered",),
    "get_ok": ("redelivered",),
    "ack": ("multiple",),
    "confirm": ("multiple",),
    "nack": ("multiple", "requeue"),
    "refuse": ("multiple", "requeue"),
    "reject": ("requeue",),
}
_SIZES = {"o": 1, "h": 2, "l": 4, "q": 8}
#: Properties in the order of their flags, from the highest: a name is a short string, a number is skipped.
_PROPERTIES: tuple[str | int, ...] = (
    "content_type",
    "content_encoding",
    -1,  # the header table: as long as it says
    1,
    1,
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    8,
    "type",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that passed. Fields that its ``kind`` does not have keep their defaults."""

    #: accept, end (by the proxy); hello; close; blocked, unblocked; channel_open, channel_close; purge; qos;
    #: consume; cancel, cancel_ok; publish, confirm, refuse, return; deliver, get_ok; ack, nack, reject;
    #: confirm_select; garbage.
    kind: str
    #: Who said it.
    by: By
    #: When it was taken from the client, or given to the client: the order that the client sees.
    at: float = 0.0
    connection: int = 0
    channel: int = 0
    #: Delivery tag; for publish, confirm and refuse the sequence number (0: not in confirm mode).
    tag: int = 0
    multiple: bool = False
    #: Of the connection (hello) or the consumer.
    name: str = ""
    queue: str = ""
    exchange: str = ""
    routing_key: str = ""
    #: The message's id, or what it is the reply to.
    id: str = ""
    reply_to: str = ""
    type: str = ""
    #: How often the requester had asked for it before: the header of that name, where there is one.
    resent: int = 0
    #: Of the tasks of a batch, or of the replies in one message; empty if it is one of neither.
    ids: tuple[str, ...] = ()
    mandatory: bool = False
    redelivered: bool = False
    requeue: bool = False
    no_ack: bool = False
    whole_channel: bool = False
    prefetch: int = 0
    #: Why a channel or connection is closed, or a message returned.
    code: int = 0


@dataclass(slots=True)
class _Message:
    """A content of which the body matters, until all of it is there."""

    kind: str
    fields: dict[str, Any]
    size: int
    body: bytearray = field(default_factory=bytearray)


class Decoder:
    """One direction of one connection. ``feed`` takes bytes as they come, cut anywhere."""

    def __init__(self, by: By, connection: int = 0) -> None:
        self._by = by
        self._connection = connection
        self._buffer = bytearray()
        self._skip = 0
        self._started = by == "broker"
        #: Methods that wait for their content header, by channel.
        self._halves: dict[int, tuple[str, dict[str, Any]]] = {}
        #: Batches that wait for the rest of their bodies, by channel.
        self._messages: dict[int, _Message] = {}
        #: Channels in confirm mode and the number of the last publish.
        self._sequences: dict[int, int] = {}
        #: True after bytes that make no sense: nothing is read any more.
        self.is_lost = False

    def feed(self, data: bytes, at: float = 0.0) -> list[Event]:
        """The events that these bytes complete. Never raises."""
        events: list[Event] = []
        if self.is_lost:
            return events
        self._buffer += data
        try:
            while (event := self._next(at)) is not False:
                if isinstance(event, Event):
                    events.append(event)
        except (ValueError, LookupError, struct.error):
            self.is_lost = True
            self._buffer.clear()
            events.append(Event(kind="garbage", by=self._by, at=at, connection=self._connection))
        return events

    def _next(self, at: float) -> Event | Literal[False] | None:
        """An event, None for a frame that is none, False when there is no whole frame left."""
        buffer = self._buffer
        if self._skip:
            skipped = min(self._skip, len(buffer))
            if skipped == self._skip:
                _check(buffer[skipped - 1] == _FRAME_END)
            del buffer[:skipped]
            self._skip -= skipped
            return None if skipped and not self._skip else False
        if not self._started:
            return self._protocol_header()
        if len(buffer) < _FRAME_HEAD.size:
            return False
        kind, channel, size = _FRAME_HEAD.unpack_from(buffer)
        _check(kind in (_METHOD, _HEADER, _BODY, _HEARTBEAT))
        if kind == _BODY and channel not in self._messages:
            del buffer[: _FRAME_HEAD.size]
            self._skip = size + 1
            return None
        _check(size <= _LONGEST)
        end = _FRAME_HEAD.size + size
        if len(buffer) <= end:
            return False
        _check(buffer[end] == _FRAME_END)
        payload = bytes(buffer[_FRAME_HEAD.size : end])
        del buffer[: end + 1]
        if kind == _METHOD:
            return self._method(channel, payload, at)
        if kind == _BODY:
            return self._body(channel, payload, at)
        return self._header(channel, payload, at) if kind == _HEADER else None

    def _protocol_header(self) -> Literal[False] | None:
        if len(self._buffer) < _PROTOCOL_HEADER_SIZE:
            return False
        _check(self._buffer.startswith(b"AMQP"))
        del self._buffer[:_PROTOCOL_HEADER_SIZE]
        self._started = True
        return None

    def _method(self, channel: int, payload: bytes, at: float) -> Event | None:
        # A message that was cut short by it never was.
        self._messages.pop(channel, None)
        known = _METHODS.get(struct.unpack_from(">HH", payload))
        if known is None:
            return None
        kind, layout = known
        if self._by == "broker":
            kind = _BY_BROKER.get(kind, kind)
        fields = _fields(payload, layout)
        for number, meaning in enumerate(_BITS.get(kind, ())):
            if meaning:
                fields[meaning] = bool(fields["bits"] >> number & 1)
        fields.pop("bits", None)
        if kind == "hello":
            fields["name"] = _connection_name(payload)
        elif kind == "channel_open":
            self._sequences.pop(channel, None)
        elif kind == "confirm_select":
            self._sequences.setdefault(channel, 0)
        elif kind == "publish" and channel in self._sequences:
            self._sequences[channel] += 1
            fields["tag"] = self._sequences[channel]
        if kind in _WITH_CONTENT:
            self._halves[channel] = (kind, fields)
            return None
        return self._event(kind, channel, at, fields)

    def _header(self, channel: int, payload: bytes, at: float) -> Event | None:
        kind, fields = self._halves.pop(channel)
        properties = _properties(payload)
        fields["id"] = properties.get("message_id") or properties.get("correlation_id", "")
        fields["reply_to"], fields["type"] = properties.get("reply_to", ""), properties.get("type", "")
        fields["resent"] = _whole(payload, _RESENT)
        size = int.from_bytes(payload[4:12])
        if size and (fields["type"] == _MANY or _whole(payload, _BATCH)):
            self._messages[channel] = _Message(kind, fields, size)
            return None
        return self._event(kind, channel, at, fields)

    def _body(self, channel: int, payload: bytes, at: float) -> Event | None:
        message = self._messages[channel]
        message.body += payload
        if len(message.body) < message.size:
            return None
        del self._messages[channel]
        message.fields["ids"] = _ids(bytes(message.body))
        return self._event(message.kind, channel, at, message.fields)

    def _event(self, kind: str, channel: int, at: float, fields: dict[str, Any]) -> Event:
        return Event(kind=kind, by=self._by, at=at, connection=self._connection, channel=channel, **fields)


def _check(is_sound: bool) -> None:
    if not is_sound:
        raise ValueError("no AMQP frame")


def _fields(payload: bytes, layout: str) -> dict[str, Any]:
    """The fields at the start of a method. Raises IndexError if they are cut short."""
    fields: dict[str, Any] = {}
    at = 4
    for name, kind in (part.split(":") for part in layout.split()):
        if kind == "s":
            text, at = _string(payload, at)
            fields[name] = text
        else:
            size = _SIZES[kind]
            if at + size > len(payload):
                raise IndexError(name)
            fields[name] = int.from_bytes(payload[at : at + size])
            at += size
    fields.pop("_", None)
    return fields


def _string(payload: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + payload[at]
    if end > len(payload):
        raise IndexError(at)
    return payload[at + 1 : end].decode("utf-8", "replace"), end


def _connection_name(payload: bytes) -> str:
    start = payload.find(_NAME)
    if start < 0:
        return ""
    start += len(_NAME)
    size = int.from_bytes(payload[start : start + 4])
    return payload[start + 4 : start + 4 + min(size, 255)].decode("utf-8", "replace")


def _whole(payload: bytes, name: bytes) -> int:
    """The header of this name; 0 if there is none that is a whole number."""
    start = payload.find(name)
    at = start + len(name)
    try:
        return int(struct.unpack_from(_WHOLE[payload[at : at + 1]], payload, at + 1)[0]) if start >= 0 else 0
    except (KeyError, struct.error):
        return 0


def _ids(body: bytes) -> tuple[str, ...]:
    """Of an array of ``[id, arguments]``, or of maps with an ``id``; none if it is no such thing."""
    try:
        entries = msgpack.unpackb(body, strict_map_key=False)
        ids = [entry["id"] if isinstance(entry, dict) else entry[0] for entry in entries]
    # Whatever it holds, it came from anybody.
    except (ValueError, TypeError, LookupError, msgpack.UnpackException):
        return ()
    return tuple(ids) if isinstance(entries, list) and all(isinstance(one, str) for one in ids) else ()


def _properties(payload: bytes) -> dict[str, str]:
    """The short strings of a content header, as many as can be read: a hostile one hides only itself."""
    found: dict[str, str] = {}
    try:
        (flags,) = struct.unpack_from(">H", payload, 12)
        at, more = 14, flags & 1
        while more:
            more, at = payload[at + 1] & 1, at + 2
        for number, what in enumerate(_PROPERTIES):
            if not flags >> (15 - number) & 1:
                continue
            if isinstance(what, str):
                found[what], at = _string(payload, at)
            else:
                at += what if what > 0 else 4 + struct.unpack_from(">L", payload, at)[0]
    except (IndexError, struct.error):
        pass
    return found
