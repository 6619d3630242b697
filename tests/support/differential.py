"""One AMQP connection twice, without a network: pika's own reader and ours get the same bytes of a broker.

What either of them does is a log of what its user sees and of the bytes that it writes.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Any

import pika
from pika import frame, spec
from pika.adapters.asyncio_connection import AsyncioConnection

from broker.amqp.channel import Channel
from broker.amqp.pika_connection import BrokenProperties, PikaConnection, read_frame

CHANNELS = (1, 2)
#: The tags of each channel's consumers: one that acks, one that does not.
ACKING, NOT_ACKING = "acking", "not-acking"
#: A body that makes the one who gets it cancel its consumer.
CANCEL = b"cancel"
#: A body whose consumer raises.
RAISE = b"raise"

Log = list[tuple[Any, ...]]


class Guarded(AsyncioConnection):  # type: ignore[misc]
    """pika's reader and nothing of ours but the guard of broken headers, which has tests of its own."""

    def _read_frame(self) -> tuple[int, Any]:
        return read_frame(self._frame_buffer)


class _Socket:
    """Where a connection writes."""

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        """The one who feeds the bytes sees to it."""


def method(channel: int, value: Any) -> bytes:
    return bytes(frame.Method(channel, value).marshal())


def framed(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHL", kind, channel, len(payload)) + payload + b"\xce"


def frames_of(channel: int, body: bytes, tag: str = ACKING) -> list[bytes]:
    made = method(channel, spec.Basic.Deliver(tag, 1, False, "tasks", "task_a"))
    header = frame.Header(channel, len(body), spec.BasicProperties(type="task_a")).marshal()
    return [bytes(made), bytes(header), *([framed(3, channel, body)] if body else [])]


def delivery(channel: int, body: bytes, tag: str = ACKING) -> bytes:
    return b"".join(frames_of(channel, body, tag))


class Twin:
    """An open connection with two channels, each with its consumers and in confirm mode."""

    def __init__(self, kind: type[AsyncioConnection], room: int = 0) -> None:
        """``room``: of the consumers that ack, of ours."""
        self._room = room
        self.log: Log = []
        self.is_ended = False
        #: Our channels by their numbers; pika's own twin has none.
        self.channels: dict[int, Channel] = {}
        self._socket = _Socket()
        self.connection = kind(
            pika.ConnectionParameters(heartbeat=0),
            custom_ioloop=asyncio.get_running_loop(),
            internal_connection_workflow=False,
        )
        self.connection._proto_connection_made(self._socket)

    async def open(self) -> None:
        """Shake hands and open all that there is; the log and what was written begin after that."""
        capabilities = {"capabilities": {"publisher_confirms": True, "basic.nack": True}}
        self.feed(method(0, spec.Connection.Start(0, 9, capabilities, "PLAIN", "en_US")))
        self.feed(method(0, spec.Connection.Tune(2047, 4096, 0)))
        self.feed(method(0, spec.Connection.OpenOk()))
        for number in CHANNELS:
            opened: list[Any] = []
            self.connection.channel(number, on_open_callback=opened.append)
            self.feed(method(number, spec.Channel.OpenOk()))
            await self._set_up(number, opened[0])
        await self.settle()
        self.log.clear()
        self._socket.written.clear()

    async def _set_up(self, number: int, channel: Any) -> None:
        channel.add_on_close_callback(lambda _channel, error: self.log.append((number, "closed", repr(error))))
        channel.add_on_cancel_callback(
            lambda frame: self.log.append((number, "cancelled", frame.method.consumer_tag))
        )
        if isinstance(self.connection, PikaConnection):
            self.channels[number] = Channel(channel)
            await self._set_up_ours(number, self.channels[number])
        else:
            self._set_up_pika(number, channel)

    async def _set_up_ours(self, number: int, channel: Channel) -> None:
        for tag in (ACKING, NOT_ACKING):

            def on_delivery(method: Any, properties: Any, body: bytes, tag: str = tag) -> None:
                if self._take(number, method, properties, body):
                    task = asyncio.ensure_future(channel.cancel(tag))
                    task.add_done_callback(lambda done: done.exception())

            opening = asyncio.ensure_future(
                channel.consume("q", on_delivery, tag=tag, auto_ack=tag == NOT_ACKING, room=self._room)
            )
            await self.settle()
            self.feed(method(number, spec.Basic.ConsumeOk(tag)))
            await opening
        selecting = asyncio.ensure_future(
            channel.confirm_select(
                lambda *confirm: self.log.append((number, "confirm", *confirm)),
                lambda method, properties: self._return(number, method, properties),
            )
        )
        await self.settle()
        self.feed(method(number, spec.Confirm.SelectOk()))
        await selecting

    def _set_up_pika(self, number: int, channel: Any) -> None:
        for tag in (ACKING, NOT_ACKING):

            def on_delivery(_channel: Any, method: Any, properties: Any, body: bytes, tag: str = tag) -> None:
                if self._take(number, method, properties, body):
                    asyncio.get_running_loop().call_soon(cancel, tag)

            channel.basic_consume("q", on_delivery, consumer_tag=tag, auto_ack=tag == NOT_ACKING)
            self.feed(method(number, spec.Basic.ConsumeOk(tag)))

        def cancel(tag: str) -> None:
            if channel.is_open:
                channel.basic_cancel(tag, callback=lambda _frame: None)
                if tag in channel._consumers:
                    # Ours takes what it is given until the broker answers, where pika rejects it.
                    channel._cancelled.discard(tag)

        def on_confirm(frame: Any) -> None:
            confirm = frame.method
            nacked = isinstance(confirm, spec.Basic.Nack)
            self.log.append((number, "confirm", confirm.delivery_tag, confirm.multiple, nacked))

        channel.add_on_return_callback(
            lambda _channel, method, properties, _body: self._return(number, method, properties)
        )
        channel.confirm_delivery(on_confirm, callback=lambda _frame: None)
        self.feed(method(number, spec.Confirm.SelectOk()))

    def _take(self, number: int, method: Any, properties: Any, body: bytes) -> bool:
        self.log.append((number, "delivery", _values(method), _values(properties), bytes(body)))
        if body == RAISE:
            raise LookupError("this consumer raises")
        return body == CANCEL

    def _return(self, number: int, method: Any, properties: Any) -> None:
        self.log.append((number, "return", _values(method), _values(properties)))

    def feed(self, data: bytes) -> None:
        """Get bytes in this turn of the loop."""
        self.connection._proto_data_received(data)

    async def read(self, chunks: Sequence[bytes]) -> None:
        """Get bytes piece by piece; what a reader raises ends its connection, as pika's transport sees to."""
        for chunk in chunks:
            try:
                self.feed(chunk)
            except Exception as error:  # noqa: BLE001 - whatever it is, it ends the connection
                self.log.append(("ended", type(error).__name__))
                self.is_ended = True
                break
            await self.settle()
        await self.settle()

    async def settle(self) -> None:
        """A few turns of the loop."""
        for _ in range(4):
            await asyncio.sleep(0)

    @property
    def written(self) -> bytes:
        return bytes(self._socket.written)


def _values(value: Any) -> tuple[Any, ...]:
    """What an object of pika's holds, with its type: two of them are the same if these are."""
    kind = BrokenProperties if isinstance(value, BrokenProperties) else type(value)
    return kind.__name__, tuple(sorted(vars(value).items()))


async def both(chunks: Sequence[bytes]) -> tuple[Twin, Twin]:
    """pika's twin and ours, after both have read the same."""
    twins = Twin(Guarded), Twin(PikaConnection)
    for twin in twins:
        await twin.open()
        await twin.read(chunks)
    return twins


def compare(chunks: Sequence[bytes]) -> tuple[Twin, Twin]:
    """Let both read the same, and see that their users see the same, and their brokers."""
    pika, ours = asyncio.run(both(chunks))
    assert ours.log == pika.log
    assert ours.written == pika.written
    assert ours.is_ended == pika.is_ended
    return pika, ours
