"""pika's asyncio connection with two changes: one write a loop turn, and headers that cannot kill it.

Writing: pika sends three packets for each publish (method, header, body frame, each by itself). Here the
frames of one turn of the loop leave in one write. Order is kept, and while the connection opens or closes
everything is written at once, because pika drops the transport right after its last frame.

Reading: pika decodes a message's properties where it reads frames, so a field it cannot decode (a timestamp
of 2^62, 1,500 nested tables) would take the connection down before anyone saw the message; redelivered, it
would take down the next worker's as well. Here such a message arrives with ``BrokenProperties``.

Both overridden methods are private to pika 1.4; ``tests/unit/test_wire.py`` fails when their source changes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from pika import frame, spec
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.exceptions import AMQPError

#: Everything that pika's decoder raises over bytes that are framed well and make no sense.
_DECODE_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    AMQPError,
)
_FRAME_HEAD = struct.Struct(">BHL")
_CONTENT_HEAD = struct.Struct(">HHQH")


class BrokenProperties(spec.BasicProperties):
    """Properties that pika could not decode. The short strings are set where they can be read without it."""


class Wire(AsyncioConnection):
    """One AMQP connection. Use it by ``broker.connection``."""

    _outgoing: list[bytes] | None = None

    def drop(self) -> None:
        """End a connection whose ``close`` nobody answers: no more words, the socket is closed."""
        if not self.is_closed:
            self._terminate_stream(None)

    def _output_marshaled_frames(self, marshaled_frames: Sequence[bytes]) -> None:
        self.frames_sent += len(marshaled_frames)
        self.bytes_sent += sum(map(len, marshaled_frames))
        if self._outgoing is None:
            self._outgoing = []
        if not self._outgoing and self.is_open:
            self.ioloop.call_soon(self._flush)
        self._outgoing.extend(marshaled_frames)
        if not self.is_open:
            self._flush()

    def _flush(self) -> None:
        if self._outgoing and self._transport is not None:
            data = b"".join(self._outgoing)
            self._outgoing = []
            self._adapter_emit_data(data)

    def _read_frame(self) -> tuple[int, Any]:
        try:
            read: tuple[int, Any] = frame.decode_frame(self._frame_buffer)
        except _DECODE_ERRORS:
            guarded = _broken_header(self._frame_buffer)
            if guarded is None:
                raise
            return guarded
        return read


def _broken_header(data: bytes) -> tuple[int, frame.Header] | None:
    """The header frame at the start of ``data`` without its field table; None if it is no header frame."""
    kind, channel, size = _FRAME_HEAD.unpack_from(data)
    if kind != spec.FRAME_HEADER or data[_FRAME_HEAD.size + size] != spec.FRAME_END:
        return None
    payload = data[_FRAME_HEAD.size : _FRAME_HEAD.size + size]
    _class, _weight, body_size, flags = _CONTENT_HEAD.unpack_from(payload)
    properties = BrokenProperties()
    try:
        # A set lowest bit announces further flags, which AMQP 0-9-1 has no properties for.
        at, more = _CONTENT_HEAD.size, flags & 1
        while more:
            more = payload[at + 1] & 1
            at += 2
        _read_short_strings(properties, flags, payload, at)
    except IndexError:
        properties = BrokenProperties()
    return _FRAME_HEAD.size + size + spec.FRAME_END_SIZE, frame.Header(channel, body_size, properties)


def _read_short_strings(properties: BrokenProperties, flags: int, data: bytes, at: int) -> None:
    """AMQP lists the properties in the order of their flag bits; all but four are short strings."""
    for flag, name in (
        (spec.BasicProperties.FLAG_CONTENT_TYPE, "content_type"),
        (spec.BasicProperties.FLAG_CONTENT_ENCODING, "content_encoding"),
        (spec.BasicProperties.FLAG_HEADERS, None),
        (spec.BasicProperties.FLAG_DELIVERY_MODE, 1),
        (spec.BasicProperties.FLAG_PRIORITY, 1),
        (spec.BasicProperties.FLAG_CORRELATION_ID, "correlation_id"),
        (spec.BasicProperties.FLAG_REPLY_TO, "reply_to"),
        (spec.BasicProperties.FLAG_EXPIRATION, "expiration"),
        (spec.BasicProperties.FLAG_MESSAGE_ID, "message_id"),
        (spec.BasicProperties.FLAG_TIMESTAMP, 8),
        (spec.BasicProperties.FLAG_TYPE, "type"),
    ):
        if not flags & flag:
            continue
        if isinstance(name, int):
            at += name
        elif name is None:
            at += 4 + int.from_bytes(data[at : at + 4])
        else:
            length = data[at]
            setattr(properties, name, data[at + 1 : at + 1 + length].decode("utf-8", "replace"))
            at += 1 + length
