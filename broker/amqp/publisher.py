"""Publishing with confirms: what the broker said of each message, as a callback or a future.

Accepted means confirmed **and** not returned: an unroutable message is confirmed too, and its return comes
first (https://www.rabbitmq.com/docs/confirms). A return carries no sequence number, so it is matched by
exchange, routing key and id, oldest first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

from broker.amqp.channel import Channel
from broker.amqp.connection import Connection
from broker.amqp.handed_over import Returned
from broker.amqp.traffic import Traffic
from broker.errors import (
    ACCESS_REFUSED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    ConfirmLost,
    ConnectionLost,
    MayNotPublish,
    NoExchange,
    PublishError,
    Refused,
    TooLarge,
    Unroutable,
    Unsendable,
)
from protocol.properties import Properties, ReceivedProperties

#: What a broker closes a channel with over a single publish.
REFUSALS = frozenset((ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED))


# Made for each message, and not frozen because a frozen one takes three times as long to make.
@dataclass(slots=True, kw_only=True)
class Message:
    """A message and where it goes."""

    exchange: str
    routing_key: str
    body: bytes
    properties: Properties
    #: Return it if no queue is bound. Means nothing for direct reply addresses (measured: 4.0 returns them
    #: although they were delivered, 4.3 never does).
    mandatory: bool = True


#: Called with None once a message is accepted, else with what happened to it.
OnEnd = Callable[[PublishError | None], None]


class Publisher:
    """A channel in confirm mode. Sequence numbers are those of the channel, from 1."""

    def __init__(self, channel: Channel, traffic: Traffic | None = None) -> None:
        self.channel = channel
        #: Where it is counted what becomes of the messages.
        self.traffic = traffic or Traffic()
        self._loop = asyncio.get_running_loop()
        self._sequence = 0
        #: Each message, whom to call, and when it was sent; in order.
        self._unconfirmed: dict[int, tuple[Message, OnEnd, float]] = {}
        #: The ``reply_to`` of those that came back.
        self._returned: dict[int, str | None] = {}
        channel.closed.add_done_callback(self._on_closed)

    @classmethod
    async def open(cls, connection: Connection, channel: Channel | None = None) -> Publisher:
        """Put a channel (a new one, if none is given) into confirm mode."""
        publisher = cls(channel or await connection.channel(), connection.traffic)
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
        return self._loop.time() if first is None else first[2]

    def send(self, message: Message, on_end: OnEnd) -> None:
        """Send a message. ``on_end`` is called once, never before this returns: with None once it is accepted, or
        with ``Unroutable``, ``Refused`` or ``Unsendable`` (all: it is stored nowhere) or ``ConfirmLost`` (nobody
        knows). It may not raise: that would end the connection.

        A message that the broker answers by closing the channel ends with what ``refusal`` says if no other was
        unconfirmed; else nobody knows which of them it was, and all end with ``ConfirmLost`` and that code.
        """
        try:
            if self.channel.closed.done():
                raise self.channel.closed.result()
            self.channel.publish(
                message.exchange,
                message.routing_key,
                message.body,
                message.properties,
                mandatory=message.mandatory,
            )
        except ConnectionLost as error:
            self._loop.call_soon(on_end, _lost(error, sent=False))
            return
        except Unsendable as error:
            self._loop.call_soon(on_end, error)
            return
        self.traffic.published += 1
        self._sequence += 1
        self._unconfirmed[self._sequence] = (message, on_end, self._loop.time())

    def publish(self, message: Message) -> asyncio.Future[None]:
        """Send a message; the future ends with None once it is accepted, or with the error of ``send``."""
        accepted: asyncio.Future[None] = self._loop.create_future()
        self.send(message, partial(_end, accepted))
        return accepted

    def _on_return(self, method: Returned, properties: ReceivedProperties) -> None:
        key = (method.exchange, method.routing_key)
        for sequence, (message, _on_end, _since_s) in self._unconfirmed.items():
            if (
                key == (message.exchange, message.routing_key)
                and properties.message_id == message.properties.message_id
                and properties.correlation_id == message.properties.correlation_id
                and sequence not in self._returned
            ):
                reply_to = properties.reply_to
                self._returned[sequence] = reply_to if isinstance(reply_to, str) else None
                return

    def _on_confirm(self, tag: int, multiple: bool, nacked: bool) -> None:
        if not multiple:
            self._confirmed(tag, nacked)
            return
        # Confirms may skip about, but a multiple one covers everything up to its tag; the table is in order.
        for covered in list(takewhile(lambda sequence: sequence <= tag, self._unconfirmed)):
            self._confirmed(covered, nacked)

    def _confirmed(self, sequence: int, nacked: bool) -> None:
        entry = self._unconfirmed.pop(sequence, None)
        if entry is None:
            return
        message, on_end, _since_s = entry
        if sequence in self._returned:
            self.traffic.returned += 1
            on_end(_unroutable(message, self._returned.pop(sequence)))
        elif nacked:
            self.traffic.nacked += 1
            on_end(_refused(message))
        else:
            self.traffic.confirmed += 1
            on_end(None)

    def _on_closed(self, closed: asyncio.Future[ConnectionLost]) -> None:
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        self.traffic.lost += len(unconfirmed)
        reason = closed.result()
        for message, on_end, _since_s in unconfirmed.values():
            is_alone = len(unconfirmed) == 1 and reason.code in REFUSALS
            on_end(refusal(reason, message.exchange) if is_alone else _lost(reason))


def refusal(error: ConnectionLost | ConfirmLost, exchange: str) -> PublishError:
    """What it means that the broker closed the channel over a message for an exchange. ``error`` has its code."""
    name = exchange or "amq.default"
    match error.code:
        case 403:
            return MayNotPublish(f"this user may not publish to exchange {name}. It needs the right to write it.")
        case 404:
            return NoExchange(f"exchange {name} does not exist. Run `python -m broker declare`.")
        case _ if "message size" in str(error):
            return TooLarge(f"the broker refused a message for its size ({error}). Send a reference to the data.")
        case _:
            return Unsendable(f"the broker does not take this message: {error}")


def _unroutable(message: Message, reply_to: str | None) -> Unroutable:
    return Unroutable(
        f"no queue is bound to exchange '{message.exchange}' for '{message.routing_key}'. "
        "Run `python -m broker declare`.",
        reply_to,
    )


def _refused(message: Message) -> Refused:
    return Refused(
        f"the broker refused a message for '{message.routing_key}': the queue is full or has no leader. "
        "Try again later."
    )


def _end(accepted: asyncio.Future[None], error: PublishError | None) -> None:
    if accepted.done():
        return
    if error is None:
        accepted.set_result(None)
    else:
        accepted.set_exception(error)
        # The one who asked may be gone by now; that is no reason for asyncio to complain.
        accepted.exception()


def _lost(error: ConnectionLost, *, sent: bool = True) -> ConfirmLost:
    return ConfirmLost(f"no confirm: {error}", error.code, sent=sent)
