"""One AMQP channel as awaitable methods over pika's callbacks."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pika import exceptions as pika_errors
from pika import spec

from broker.amqp.acks import Acks, Held
from broker.amqp.answers import CLOSE_S, answer, left_s, resolve
from broker.amqp.encoding import publish_frames
from broker.amqp.handed_over import Delivered, Got, OnConfirm, OnDelivery, OnReturn
from broker.amqp.pika_connection import PikaConnection
from broker.amqp.pika_errors import lost_error, mapped
from broker.errors import ConnectionLost
from protocol.properties import Properties, ReceivedProperties

#: How long an ack waits for others at most: as long as a few calls take, one after the other.
ACK_WAIT_S = 0.005
#: RabbitMQ's own limit of a prefetch.
_MOST_UNACKED = 65_535


class Channel:
    """An open channel. Whatever it waits for ends with ``ConnectionLost`` when the channel does.

    The delivery tags of a channel mean nothing on any other: a delivery keeps its ``Channel``, and ``ack`` on
    one that has ended does nothing and says so.
    """

    def __init__(self, channel: Any, deadline_s: float = math.inf) -> None:
        """``deadline_s``: when its answers have to be there, by the clock ``time.monotonic``."""
        self._deadline_s = deadline_s
        self._channel = channel
        self._wire: PikaConnection = channel.connection
        self._number: int = channel.channel_number
        self._acks = Acks()
        #: Acks may wait for each other while no more deliveries than this are held: the least of its consumers'.
        self._room = _MOST_UNACKED
        self.closed: asyncio.Future[ConnectionLost] = asyncio.get_running_loop().create_future()
        channel.add_on_close_callback(self._on_closed)
        #: Tag of a consumer → what it holds, its prefetch, and its room.
        self._consumers: dict[str, tuple[Held, int, int]] = {}
        self._fetched = Held()
        #: While a consumer is to fill up: resolved once it has; and the acks that wait for it.
        self._filling: tuple[Held, int, asyncio.Future[None]] | None = None
        self._withheld: list[int] = []
        #: Of the latest message that was handed over; and how many were acked then without the broker's knowledge.
        self.last_tag = self.unwritten = 0
        self._got: asyncio.Future[tuple[Got, ReceivedProperties, bytes] | None] | None = None
        channel.add_callback(self._on_get_empty, [spec.Basic.GetEmpty], one_shot=False)
        channel.add_on_cancel_callback(lambda frame: self._forget(str(frame.method.consumer_tag)))

    @property
    def is_open(self) -> bool:
        """False as soon as it is closing: nothing can be settled on it any more."""
        return not self.closed.done() and bool(self._channel.is_open)

    def _on_closed(self, _channel: Any, error: BaseException) -> None:
        self.end(lost_error(error, "the channel"))

    def end(self, reason: ConnectionLost) -> None:
        """It is over, whether or not the broker has answered: what waits for it ends now. Idempotent."""
        self._wire.forget(self._number)
        resolve(self.closed, reason)

    async def _rpc(
        self,
        call: Callable[..., Any],
        *arguments: Any,
        on_answer: Callable[[Any], None] = lambda _frame: None,
        **options: Any,
    ) -> Any:
        """``on_answer`` is called before anything is read that comes after the answer."""
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def on_frame(frame: Any) -> None:
            on_answer(frame)
            resolve(answered, frame)

        with mapped("the channel"):
            call(*arguments, **options, callback=on_frame)
        return await answer(answered, self.closed, self._deadline_s)

    async def confirm_select(self, on_confirm: OnConfirm, on_return: OnReturn) -> None:
        """Put the channel into confirm mode. Returns are called back before the confirm that covers them.

        Neither callback may raise: that would end the connection.
        """
        self._channel.add_on_return_callback(
            lambda _channel, method, properties, _body: on_return(method, properties)
        )

        def on_frame(frame: Any) -> None:
            method = frame.method
            on_confirm(method.delivery_tag, method.multiple, isinstance(method, spec.Basic.Nack))

        def on_answer(_frame: Any) -> None:
            self._wire.confirms[self._number] = on_confirm

        await self._rpc(self._channel.confirm_delivery, on_frame, on_answer=on_answer)

    async def consume(
        self,
        queue: str,
        on_delivery: OnDelivery,
        *,
        prefetch: int = 0,
        tag: str | None = None,
        auto_ack: bool = False,
        room: int = 0,
        timeout_s: int | None = None,
        offset: int | str | None = None,
    ) -> str:
        """Start a consumer; its tag. ``prefetch`` holds for this consumer alone (``global`` is false). ``room``:
        while no more deliveries than this are held the broker can hand out enough, and acks may wait: see ``ack``.
        ``timeout_s``: how long it may hold a delivery of a quorum queue, see ``broker.config.holding``.
        ``offset``: where in a stream it begins (https://www.rabbitmq.com/docs/streams#consuming).

        ``on_delivery`` may not raise: that would end the connection.
        """
        if prefetch:
            await self._rpc(self._channel.basic_qos, prefetch_count=prefetch)
        held = Held()
        deliver = on_delivery if auto_ack else partial(self._deliver, on_delivery, held)

        def on_answer(frame: Any) -> None:
            if self.is_open:
                self._wire.deliveries[self._number, frame.method.consumer_tag.encode()] = deliver
                if not auto_ack:
                    self._consumers[frame.method.consumer_tag] = held, prefetch, room
                    self._room = min(self._room, room)

        frame = await self._rpc(
            self._channel.basic_consume,
            queue,
            lambda _channel, method, properties, body: deliver(method, properties, body),
            auto_ack=auto_ack,
            consumer_tag=tag,
            arguments=_consumer_arguments(timeout_s, offset),
            on_answer=on_answer,
        )
        return str(frame.method.consumer_tag)

    @property
    def unsettled(self) -> int:
        """Messages that were handed over to be settled, and are not."""
        return self._acks.outstanding

    def _took(self, tag: int, held: Held) -> None:
        self.last_tag = tag
        self.unwritten = self._acks.add(tag, held)
        if self._filling is not None and self._filling[0].count >= self._filling[1]:
            resolve(self._filling[2], None)

    def held_by(self, tag: str) -> int:
        """Messages that a consumer was given and has not settled."""
        return self._consumers[tag][0].count if tag in self._consumers else 0

    def _deliver(
        self, on_delivery: OnDelivery, held: Held, method: Delivered, properties: ReceivedProperties, body: bytes
    ) -> None:
        self._took(method.delivery_tag, held)
        on_delivery(method, properties, body)

    def _forget(self, tag: str) -> None:
        """A consumer has ended."""
        self._wire.deliveries.pop((self._number, tag.encode()), None)
        self._consumers.pop(tag, None)
        self._room = min([room for _, _, room in self._consumers.values()], default=_MOST_UNACKED)

    def on_cancel(self, callback: Callable[[str], None]) -> None:
        """Call back with the consumer's tag when the broker cancels it (its queue was deleted, or a timeout)."""
        self._channel.add_on_cancel_callback(lambda frame: callback(str(frame.method.consumer_tag)))

    async def cancel(self, tag: str, *, fill_s: float = 0.0) -> None:
        """Stop a consumer. What it has prefetched stays unacked, and ours to settle; so does what it is given
        until the broker answers.

        What is on its way to it inside the broker goes back to the queue, which counts it as returned (tried on
        3.10.8, 4.0.5 and 4.3.6). Nothing is on its way to a consumer that has its whole prefetch: ``fill_s`` is
        how long to wait for that at most. No ack is written meanwhile.
        """

        def begin(*, callback: Callable[[Any], None]) -> None:
            self._channel.basic_cancel(tag, callback)
            if (self._number, tag.encode()) in self._wire.deliveries:
                # pika rejects what arrives for a consumer of this set, and the broker counts that as well.
                self._channel._cancelled.discard(tag)
            self._release()

        try:
            if fill_s and tag in self._consumers:
                await self._fill(*self._consumers[tag][:2], fill_s)
            await self._rpc(begin, on_answer=lambda _frame: self._forget(tag))
        finally:
            self._release()

    async def _fill(self, held: Held, prefetch: int, within_s: float) -> None:
        if held.count < prefetch:
            self._wire.flush_soon()
            full: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._filling = held, prefetch, full
            ends: set[asyncio.Future[Any]] = {full, self.closed}
            await asyncio.wait(ends, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)

    def _release(self) -> None:
        """Acks are written again."""
        self._filling, withheld = None, self._withheld
        self._withheld = []
        for tag in withheld:
            self.ack(tag)

    async def get(self, queue: str) -> tuple[Got, ReceivedProperties, bytes] | None:
        """Fetch one message to be acked, or None if the queue is empty. One at a time on a channel."""
        self._got = asyncio.get_running_loop().create_future()
        got = self._got

        def on_got(_channel: object, method: Got, properties: ReceivedProperties, body: bytes) -> None:
            self._took(method.delivery_tag, self._fetched)
            resolve(got, (method, properties, body))

        with mapped("the channel"):
            self._channel.basic_get(queue, on_got)
        return await answer(got, self.closed, self._deadline_s)

    def _on_get_empty(self, _frame: Any) -> None:
        if self._got is not None:
            resolve(self._got, None)

    def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: Properties, *, mandatory: bool
    ) -> None:
        """Hand a persistent message to the connection. Success says nothing yet.

        Raises ``ConnectionLost``, and ``Unsendable`` for what no frame can carry: nothing was sent then.
        """
        if not self._channel.is_open:
            raise ConnectionLost("the channel ended: it was closed before")
        frames = publish_frames(
            self._number,
            exchange,
            routing_key,
            body,
            properties,
            mandatory=mandatory,
            longest=self._wire.longest_body,
        )
        self._wire.write(frames)

    def before_write(self, action: Callable[[], None]) -> None:
        """Call back before the frames of this turn of the loop are written: what is published then joins them."""

        def frames() -> list[bytes]:
            action()
            return []

        self._wire.write_late(frames)

    def ack(self, tag: int) -> bool:
        """Settle a delivery for good. False if the channel has ended: the broker delivers it again.

        Acks wait for each other, and are written in one frame as far as they leave no gap: to the end of this turn
        of the loop, or, where there is room (see ``consume``), at most ``ACK_WAIT_S``. A quorum queue writes its
        log for an ack as it does for a message, so an ack that leaves at once holds up the next task of a
        requester that asks for one after the other. They never overtake anything; a publish may overtake them,
        which is never less safe, and nothing else does.
        """
        if not self.is_open:
            return False
        if self._filling is not None:
            self._withheld.append(tag)
            return True
        if not self._acks.ack(tag):
            return self._settle(self._channel.basic_ack, tag)
        has_room = self._acks.held <= self._room
        if self._acks.collected == 1:
            self._wire.write_late(partial(self._acks.frames, self._number), ACK_WAIT_S if has_room else 0.0)
        elif not has_room:
            self._wire.flush_soon()
        return True

    def nack(self, tag: int, *, multiple: bool = False) -> bool:
        """Give a delivery back unharmed; with ``multiple`` all up to its tag, or all if that is 0. Never used as a
        retry (RabbitMQ 4.3 does not count it)."""
        settled = self._settle(self._channel.basic_nack, tag, multiple=multiple, requeue=True)
        if settled:
            self._acks.remove(tag)
        return settled

    def _settle(self, method: Callable[..., None], tag: int, **options: bool) -> bool:
        if not self.is_open:
            return False
        try:
            method(tag, **options)
        except pika_errors.AMQPError:
            return False
        return True

    async def answers(self) -> None:
        """Return once the broker has looked at all that was sent before. Raises ``ConnectionLost`` if it closed
        the channel over it."""
        await self._rpc(self._channel.basic_qos, prefetch_count=0)

    async def purge(self, queue: str) -> int:
        """Remove all messages of a queue that are ready; how many."""
        frame = await self._rpc(self._channel.queue_purge, queue)
        return int(frame.method.message_count)

    async def declare_exchange(self, name: str, exchange_type: str, arguments: Mapping[str, Any]) -> None:
        await self._rpc(
            self._channel.exchange_declare, name, exchange_type, durable=True, arguments=dict(arguments)
        )

    async def require_exchange(self, name: str) -> None:
        """Return if the exchange is there; otherwise the channel ends (404)."""
        await self._rpc(self._channel.exchange_declare, name, passive=True)

    async def declare_queue(self, name: str, arguments: Mapping[str, Any]) -> None:
        await self._rpc(self._channel.queue_declare, name, durable=True, arguments=dict(arguments))

    async def declare_own_queue(self, arguments: Mapping[str, Any]) -> str:
        """A queue for this connection alone, which ends with it; its name, which the broker chooses."""
        frame = await self._rpc(self._channel.queue_declare, "", exclusive=True, arguments=dict(arguments))
        return str(frame.method.queue)

    async def delete_queue(self, name: str) -> None:
        await self._rpc(self._channel.queue_delete, name)

    async def delete_exchange(self, name: str) -> None:
        await self._rpc(self._channel.exchange_delete, name)

    async def inspect_queue(self, name: str) -> tuple[int, int]:
        """Ready messages and consumers of a queue; if it is missing, the channel ends (404)."""
        frame = await self._rpc(self._channel.queue_declare, name, passive=True)
        return frame.method.message_count, frame.method.consumer_count

    async def bind(self, source: str, destination: str, routing_key: str, *, to_exchange: bool) -> None:
        method = self._channel.exchange_bind if to_exchange else self._channel.queue_bind
        await self._rpc(method, destination, source, routing_key)

    async def unbind(self, source: str, destination: str, routing_key: str, *, to_exchange: bool) -> None:
        method = self._channel.exchange_unbind if to_exchange else self._channel.queue_unbind
        await self._rpc(method, destination, source, routing_key)

    async def close(self) -> None:
        """Close the channel; what is unacked on it goes back to its queue."""
        self._wire.forget(self._number)
        with contextlib.suppress(pika_errors.AMQPError):
            self._channel.close()
        await asyncio.wait({self.closed}, timeout=left_s(self._deadline_s, CLOSE_S))


def _consumer_arguments(timeout_s: int | None, offset: int | str | None) -> dict[str, Any] | None:
    if offset is not None:
        return {"x-stream-offset": offset}
    return None if timeout_s is None else {"x-consumer-timeout": timeout_s * 1000}
