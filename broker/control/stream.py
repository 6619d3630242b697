"""Reading and writing the control stream by AMQP 0-9-1.

A stream has no end that one could see, so a reader publishes a marker and has read everything once that comes back
to it. Deliveries are acked at once, which moves the window of the prefetch and nothing else; on RabbitMQ 3.10 a
channel that is closed with unacked deliveries of a stream takes its connection along (540), so all of it is acked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from broker.amqp.answers import resolve
from broker.amqp.connection import Connection
from broker.amqp.handed_over import Delivered
from broker.amqp.publisher import REFUSALS, Message, Publisher, refusal
from broker.config.control_settings import ControlSettings
from broker.control.state import State
from broker.errors import (
    ACCESS_REFUSED,
    NOT_FOUND,
    AccessRefused,
    BrokerError,
    ConfirmLost,
    ConnectionLost,
    NoStream,
    TimedOut,
)
from protocol.control import AnyRecord, Marker, Pause, exchange_of, pack, properties_of, read
from protocol.errors import Malformed
from protocol.names import CONTROL_STREAM, MARKERS, new_id
from protocol.properties import ReceivedProperties

log = logging.getLogger("glassrabbit.broker")

#: Deliveries in progress; the broker hands out chunks of a stream whole.
PREFETCH = 2000


@dataclass(slots=True, kw_only=True)
class Entry:
    """A record as it came: its place in the stream, the bytes of its body, and the address of who asks."""

    record: AnyRecord
    offset: int
    size: int
    reply_to: str | None


def state_of(settings: ControlSettings) -> State:
    return State(settings.retention_s * 1000, settings.retention_bytes)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def marker(by: str, gone: int = 0) -> Marker:
    now = now_ms()
    return Marker(id=new_id(), by=by, at=now, written=now, gone=gone)


async def follow(
    connection: Connection,
    by: str,
    state: State,
    on_entry: Callable[[Entry], None] = lambda _entry: None,
    *,
    after: int | None = None,
    within_s: float,
    old_markers: bool = False,
) -> Publisher:
    """Read the stream, from its beginning or ``after`` an offset, and go on as long as the connection lasts. Once
    all is read that is there, return what publishes.

    All of it is folded into ``state``. ``on_entry`` may not raise; it gets the markers of others that were there
    before only with ``old_markers``: they are most of a stream, and not decoded otherwise. Raises ``NoStream``,
    ``AccessRefused``, ``TimedOut`` if the stream is silent for ``within_s``, and what ends the connection.
    """
    publisher, channel = await Publisher.open(connection), await connection.channel()
    mark = marker(by)
    marked, heard = pack(mark), 0
    all_read: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_delivery(method: Delivered, properties: ReceivedProperties, body: bytes) -> None:
        nonlocal heard
        heard += 1
        channel.ack(method.delivery_tag)
        if method.exchange == MARKERS and not (old_markers or all_read.done() or body == marked):
            state.bytes += len(body)
            return
        entry = _entry(method.exchange, properties, body)
        if entry is not None:
            state.fold(entry.record, entry.size)
            on_entry(entry)
            if entry.record.id == mark.id:
                resolve(all_read, None)

    try:
        offset = "first" if after is None else after + 1
        await channel.consume(CONTROL_STREAM, on_delivery, prefetch=PREFETCH, offset=offset)
        await write(publisher, mark, within_s=within_s)
        ends: set[asyncio.Future[Any]] = {all_read, channel.closed}
        before = -1
        while before < heard and not (all_read.done() or channel.closed.done()):
            before = heard
            await asyncio.wait(ends, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        if channel.closed.done():
            raise channel.closed.result()
    except ConnectionLost as error:
        raise _named(error) from error
    if not all_read.done():
        raise TimedOut(f"{CONTROL_STREAM} is silent: what was written to it did not come back in {within_s:g} s")
    channel.on_cancel(
        lambda _tag: connection.fail(ConnectionLost(f"the broker cancelled the reader of {CONTROL_STREAM}"))
    )
    channel.closed.add_done_callback(lambda closed: connection.fail(closed.result()))
    return publisher


def _entry(exchange: str, properties: ReceivedProperties, body: bytes) -> Entry | None:
    headers = properties.headers if isinstance(properties.headers, dict) else {}
    offset, reply_to = headers.get("x-stream-offset"), properties.reply_to
    try:
        record = read(exchange, body)
    except Malformed as error:
        log.warning("what stands in %s at %s is passed over: %s", CONTROL_STREAM, offset, error.text)
        return None
    return Entry(
        record=record,
        offset=int(offset or 0),
        size=len(body),
        reply_to=reply_to if isinstance(reply_to, str) else None,
    )


def _named(error: ConnectionLost) -> BrokerError:
    if error.code == NOT_FOUND:
        return NoStream(f"{CONTROL_STREAM} does not exist. Run `python -m broker declare`.")
    if error.code == ACCESS_REFUSED:
        return AccessRefused(f"this user may not read {CONTROL_STREAM}. It needs the right to read it.")
    return error


async def paused_now(
    connection: Connection, settings: ControlSettings, by: str, within_s: float
) -> dict[str, Pause]:
    """The queues that are paused. Raises what ``follow`` does."""
    state = state_of(settings)
    await follow(connection, by, state, within_s=within_s)
    return state.paused


async def write(
    publisher: Publisher, record: AnyRecord, *, reply_to: str | None = None, within_s: float = 10.0
) -> None:
    """Return once the broker has stored a record. Raises ``PublishError``: ``MayNotPublish`` if this user has not
    the right, which ends the publisher's channel."""
    message = Message(
        exchange=exchange_of(record),
        routing_key=CONTROL_STREAM,
        body=pack(record),
        properties=properties_of(record, reply_to),
    )
    try:
        async with asyncio.timeout(within_s):
            await publisher.publish(message)
    except TimeoutError:
        raise ConfirmLost(f"no confirm of {message.exchange} within {within_s:g} s") from None
    except ConfirmLost as error:
        raise (refusal(error, message.exchange) if error.code in REFUSALS else error) from error
