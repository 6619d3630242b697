"""Publishing with confirms: what the broker said of each message, as a future.

Accepted means confirmed **and** not returned: an unroutable message is confirmed too, and its return comes
first (https://www.rabbitmq.com/docs/confirms). A return carries no sequence number, so it is matched by
exchange, routing key and id, oldest first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from pika import spec

from broker.channel import Channel
from broker.connection import Connection
from broker.errors import ConfirmLost, ConnectionLost, PublishError, Refused, Unroutable
from protocol.properties import Properties


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message and where it goes."""

    exchange: str
    routing_key: str
    body: bytes
    properties: Properties
    #: Return it if no queue is bound. Means nothing for direct reply addresses (measured: 4.0 returns them
    #: although they were delivered, 4.3 never does).
    mandatory: bool = True


@dataclass(slots=True)
class _Unconfirmed:
    message: Message
    accepted: asyncio.Future[None]
    since_s: float
    returned: bool = False


class Publisher:
    """A channel in confirm mode. Sequence numbers are those of the channel, from 1."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._loop = asyncio.get_running_loop()
        self._sequence = 0
        self._unconfirmed: dict[int, _Unconfirmed] = {}
        channel.closed.add_done_callback(self._on_closed)

    @classmethod
    async def open(cls, connection: Connection, channel: Channel | None = None) -> Publisher:
        """Put a channel (a new one, if none is given) into confirm mode."""
        publisher = cls(channel or await connection.channel())
        await publisher.channel.confirm_select(publisher._on_confirm, publisher._on_return)
        return publisher

    @property
    def unconfirmed(self) -> int:
        """Messages that were sent and are neither accepted nor refused yet."""
        return len(self._unconfirmed)

    @property
    def oldest_s(self) -> float:
        """When the message that has waited longest for its confirm was sent, by the loop's clock; now if none."""
        first = next(iter(self._unconfirmed.values()), None)
        return self._loop.time() if first is None else first.since_s

    def publish(self, message: Message) -> asyncio.Future[None]:
        """Send a message. The future ends with None once it is accepted, or with a ``PublishError``:
        ``Unroutable``, ``Refused`` (both: it is stored nowhere), ``ConfirmLost`` (nobody knows)."""
        accepted: asyncio.Future[None] = self._loop.create_future()
        try:
            self.channel.publish(
                message.exchange,
                message.routing_key,
                message.body,
                message.properties,
                mandatory=message.mandatory,
            )
        except ConnectionLost as error:
            accepted.set_exception(_lost(error, sent=False))
            return accepted
        self._sequence += 1
        self._unconfirmed[self._sequence] = _Unconfirmed(message, accepted, self._loop.time())
        return accepted

    def send(self, message: Message, on_end: Callable[[PublishError | None], None]) -> None:
        """The same, and ``on_end`` is called once: with None, or with the error."""

        def ended(accepted: asyncio.Future[None]) -> None:
            error = accepted.exception()
            assert error is None or isinstance(error, PublishError)
            on_end(error)

        self.publish(message).add_done_callback(ended)

    def _on_return(self, method: Any, properties: Any) -> None:
        key = (method.exchange, method.routing_key)
        for entry in self._unconfirmed.values():
            message = entry.message
            if (
                not entry.returned
                and key == (message.exchange, message.routing_key)
                and properties.message_id == message.properties.message_id
                and properties.correlation_id == message.properties.correlation_id
            ):
                entry.returned = True
                return

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        nacked = isinstance(method, spec.Basic.Nack)
        if method.multiple:
            # Confirms may skip about, but a multiple one covers everything up to its tag; the table is in order.
            tags = list(takewhile(lambda tag: tag <= method.delivery_tag, self._unconfirmed))
        else:
            tags = [method.delivery_tag]
        for tag in tags:
            entry = self._unconfirmed.pop(tag, None)
            if entry is not None:
                _settle(entry, nacked)

    def _on_closed(self, closed: asyncio.Future[ConnectionLost]) -> None:
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        for entry in unconfirmed.values():
            _fail(entry, _lost(closed.result()))


def _settle(entry: _Unconfirmed, nacked: bool) -> None:
    message = entry.message
    if entry.returned:
        _fail(
            entry,
            Unroutable(
                f"no queue is bound to exchange '{message.exchange}' for '{message.routing_key}'. "
                "Run `python -m broker declare`."
            ),
        )
    elif nacked:
        _fail(
            entry,
            Refused(
                f"the broker refused a message for '{message.routing_key}': the queue is full or has no leader. "
                "Try again later."
            ),
        )
    elif not entry.accepted.done():
        entry.accepted.set_result(None)


def _fail(entry: _Unconfirmed, error: PublishError) -> None:
    if not entry.accepted.done():
        entry.accepted.set_exception(error)
        # The one who asked may be gone by now; that is no reason for asyncio to complain.
        entry.accepted.exception()


def _lost(error: ConnectionLost, *, sent: bool = True) -> ConfirmLost:
    return ConfirmLost(f"no confirm: {error}", error.code, sent=sent)
