"""pika's asyncio connection with its hot paths made short, and headers that cannot kill it.

Writing: pika sends three packets for each publish (method, header, body frame, each by itself). Here the
frames of one turn of the loop leave in one write. Order is kept, and while the connection opens or closes
everything is written at once, because pika drops the transport right after its last frame.

Reading: pika builds an object for each frame and looks for callbacks by its name, for each delivery and each
confirm. Here deliveries and confirms that are plain go straight to who wants them; all else goes pika's way.

pika also decodes a message's properties where it reads frames, so a field it cannot decode (a timestamp of
2^62, 1,500 nested tables) would take the connection down before anyone saw the message; redelivered, it
would take down the next worker's as well. Here such a message arrives with ``BrokenProperties``.

The overridden methods are private to pika 1.4: ``tests/unit/broker/amqp/test_wire.py`` fails when they change.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from pika import frame, spec
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.exceptions import AMQPError, IncompatibleProtocolError, InvalidFrameError

from broker.amqp.decoding import (
    ACK,
    AROUND,
    CONFIRM_BYTES,
    DELIVER,
    END,
    FRAME_HEAD,
    METHOD,
    NACK,
    TAG_AND_BITS,
    UNFINISHED,
    find_content,
    present,
    read_deliver,
    read_properties,
)
from broker.amqp.handed_over import OnConfirm, OnDelivery
from broker.amqp.pika_transport import Services
from broker.amqp.property_cache import Shaped, Shapes

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


class PikaConnection(AsyncioConnection):
    """One AMQP connection. Use it by ``broker.amqp.connection``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        #: Who gets the deliveries of a consumer, by channel and tag. What is in nobody's name goes pika's way.
        self.deliveries: dict[tuple[int, bytes], OnDelivery] = {}
        #: Who hears of the confirms of a channel.
        self.confirms: dict[int, OnConfirm] = {}
        self._outgoing: list[bytes] = []
        self._late: list[Callable[[], Sequence[bytes]]] = []
        self._is_flush_due = False
        self._received = b""
        self._shapes = Shapes()
        self._at = 0
        super().__init__(*arguments, **options)

    @classmethod
    def create_connection(cls, configurations: Any, on_done: Any, custom_ioloop: Any = None) -> Any:
        """As pika's own, on the transports of ``broker.amqp.pika_transport``."""
        services = Services(custom_ioloop)

        def connection(parameters: Any) -> PikaConnection:
            return cls(parameters, custom_ioloop=services, internal_connection_workflow=False)

        return cls._start_connection_workflow(configurations, connection, services, None, on_done)

    def drop(self) -> None:
        """End a connection whose ``close`` nobody answers: no more words, the socket is closed."""
        if not self.is_closed:
            self._terminate_stream(None)

    @property
    def longest_body(self) -> int:
        """How many bytes of a message one frame holds."""
        return int(self._body_max_length)

    def forget(self, channel: int) -> None:
        """From now on what arrives on a channel goes pika's way."""
        self.confirms.pop(channel, None)
        for key in [key for key in self.deliveries if key[0] == channel]:
            del self.deliveries[key]

    def write(self, frames: Sequence[bytes]) -> None:
        """Send whole frames, in order, at the end of this turn of the loop."""
        self.frames_sent += len(frames)
        self._outgoing += frames
        self.flush_soon()

    def write_late(self, frames: Callable[[], Sequence[bytes]], within_s: float = 0.0) -> None:
        """Ask for frames, once, that may wait while others are published by ``write``: when this turn of the loop
        ends, or after ``within_s`` seconds; before that with whatever else is written, and before any frame of
        pika's."""
        self._late.append(frames)
        if within_s:
            self.ioloop.call_later(within_s, self._flush)
        else:
            self.flush_soon()

    def flush_soon(self) -> None:
        """Write what there is at the end of this turn of the loop."""
        if not self._is_flush_due:
            self._is_flush_due = True
            self.ioloop.call_soon(self._flush)

    def _output_marshaled_frames(self, marshaled_frames: Sequence[bytes]) -> None:
        self._write_what_is_late()
        self.write(marshaled_frames)
        if not self.is_open:
            self._flush()

    def _write_what_is_late(self) -> None:
        while self._late:
            self.write(self._late.pop(0)())

    def _flush(self) -> None:
        try:
            self._write_what_is_late()
        finally:
            # Whatever a callback does, the next turn is written.
            self._is_flush_due = False
        if self._outgoing and self._transport is not None:
            data = b"".join(self._outgoing)
            self._outgoing = []
            self.bytes_sent += len(data)
            self._adapter_emit_data(data)

    def _on_stream_terminated(self, error: BaseException | None) -> None:
        if self.bytes_received and not self.frames_received:
            # What hangs up without a word may be a broker that is starting; this is none.
            error = IncompatibleProtocolError("its first bytes are no frame")
        super()._on_stream_terminated(error)

    def _on_data_available(self, data_in: bytes) -> None:
        # What is called from here may raise, or close the connection: the position is moved on before that.
        buffer = self._received = self._received[self._at :] + data_in
        self._at = 0
        self.bytes_received += len(data_in)
        size = len(buffer)
        while size - self._at >= AROUND:
            at = self._at
            kind, channel, length = FRAME_HEAD.unpack_from(buffer, at)
            end = at + AROUND + length
            if end > size and not buffer.startswith(b"AMQP", at):
                return
            taken = self._take_method(buffer, at, end, channel) if kind == METHOD else False
            if taken is None:
                return
            if not taken:
                consumed, value = read_frame(buffer[at:end])
                self._at = at + consumed
                self._process_frame(value)

    def _take_method(self, buffer: bytes, at: int, end: int, channel: int) -> bool | None:
        """Hand over a plain confirm, or a plain delivery with its content. None: it has yet to arrive as a whole.
        False: nothing was done, it is for pika."""
        method = buffer[at + 7 : at + 11]
        if method == DELIVER:
            return self._take_delivery(buffer, at, end, channel)
        if method in (ACK, NACK) and end - at == CONFIRM_BYTES and buffer[end - 1] == END:
            on_confirm = self.confirms.get(channel)
            if on_confirm is None:
                return False
            tag, bits = TAG_AND_BITS.unpack_from(buffer, at + 11)
            self._at = end
            self.frames_received += 1
            on_confirm(tag, bits & 1 != 0, method == NACK)
            return True
        return False

    def _take_delivery(self, buffer: bytes, at: int, end: int, channel: int) -> bool | None:
        tag_end = at + 12 + buffer[at + 11]
        consumer_tag = buffer[at + 12 : tag_end]
        on_delivery = self.deliveries.get((channel, consumer_tag))
        if on_delivery is None or buffer[end - 1] != END or self._is_assembling(channel):
            return False
        content = find_content(buffer, end, channel)
        if content is UNFINISHED:
            return None
        method = read_deliver(buffer, tag_end, end - 1)
        if content is None or method is None:
            return False
        flags, properties_at, properties_end, body_at, body_end, after = content
        properties = self._read_properties(flags, buffer[properties_at:properties_end])
        if properties is None:
            return False
        self._at = after
        self.frames_received += 3 if body_end < after else 2
        on_delivery(spec.Basic.Deliver(consumer_tag.decode(), *method), properties, buffer[body_at:body_end])
        return True

    def _read_properties(self, flags: int, raw: bytes) -> Any:
        """None if it is for pika to read them, or to say what is wrong with them."""
        shape = self._shapes.find(flags, raw)
        if shape is not None:
            return Shaped(shape, flags, raw)
        fields = read_properties(raw, 0, len(raw), flags)
        if fields is None:
            return None
        self._shapes.learn(flags, raw)
        properties = spec.BasicProperties.__new__(spec.BasicProperties)
        properties.__dict__ = fields
        return properties

    def _is_assembling(self, channel: int) -> bool:
        """Whether pika holds parts of a message of that channel and waits for the rest."""
        assembler = self._channels[channel]._content_assembler
        return assembler._method_frame is not None or assembler._header_frame is not None


def read_frame(data: bytes) -> tuple[int, Any]:
    """Decode the frame at the start of ``data`` as pika does, but for headers that it cannot decode."""
    try:
        read: tuple[int, Any] = frame.decode_frame(data)
    except _DECODE_ERRORS as error:
        guarded = _broken_header(data)
        if guarded is None:
            raise InvalidFrameError(f"a frame that cannot be decoded: {error!r}") from error
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
    for name, size in present(flags):
        if size > 0:
            at += size
        elif size < 0:
            at += 4 + int.from_bytes(data[at : at + 4])
        else:
            end = at + 1 + data[at]
            setattr(properties, name, data[at + 1 : end].decode("utf-8", "replace"))
            at = end
