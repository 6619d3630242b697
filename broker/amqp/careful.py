"""Publishing so that a message which the broker refuses by closing the channel costs no other its confirm.

RabbitMQ closes a channel over a publish to an exchange that is missing (404) or not to be written (403), and over
a body larger than its ``max_message_size`` (406); nobody learns then what became of all else that was unconfirmed
on it (https://www.rabbitmq.com/docs/channels#error-handling). So what may be refused like that is sent alone, on
a channel beside the one that all others share: the first message to each exchange, one that is larger than any
that the exchange took so far, and what was unconfirmed on a channel that the broker closed all the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from broker.amqp.connection import Connection
from broker.amqp.publisher import REFUSALS, Message, OnEnd, Publisher
from broker.errors import BrokerError, ConfirmLost, ConnectionLost

#: An exchange that took one message takes those up to this size.
SMALL_BYTES = 64 * 1024
#: This many may wait alone for a confirm, each on a channel of its own: it comes when their queue has a leader.
MOST_ALONE = 16
IDLE_S = 0.005


class CarefulPublisher:
    """Publishes over one connection, and ends with it. A channel that the broker closes is replaced."""

    def __init__(self, connection: Connection, publisher: Publisher, *, one_by_one: bool = False) -> None:
        """``one_by_one``: no channel but that of ``publisher`` will do, so each message is alone on it."""
        self._connection = connection
        self._shared = self._kept(publisher)
        #: For what is sent alone, and how many there may be.
        self._apart = [publisher] if one_by_one else []
        self._most = 1 if one_by_one else MOST_ALONE
        #: The largest body that each exchange is known to take.
        self._proven: dict[str, int] = {}
        self._waiting: deque[tuple[Message, OnEnd, bool]] = deque()
        self._trying: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, connection: Connection) -> CarefulPublisher:
        return cls(connection, await Publisher.open(connection))

    @property
    def is_open(self) -> bool:
        return self._connection.is_open

    @property
    def unconfirmed(self) -> int:
        """Messages that have not ended."""
        return sum(one.unconfirmed for one in (self._shared, *self._apart)) + len(self._waiting)

    @property
    def oldest_s(self) -> float:
        """When the message was sent that has waited longest for its confirm, by the loop's clock; now if none."""
        return min(one.oldest_s for one in (self._shared, *self._apart))

    def before_write(self, action: Callable[[], None]) -> None:
        """See ``Channel.before_write``."""
        self._shared.channel.before_write(action)

    def prove(self, exchange: str, size: int = 0) -> None:
        """The exchange is known to take messages, and bodies of this size."""
        self._proven[exchange] = max(size, SMALL_BYTES, self._proven.get(exchange, 0))

    def send(self, message: Message, on_end: OnEnd, *, alone: bool = False) -> None:
        """As ``Publisher.send``. ``ConfirmLost`` while this is open means that the message, or another, was
        refused: a caller that still wants it sends it again, ``alone``."""
        if not alone and self.is_proven(message) and self._shared.channel.is_open:
            self._shared.send(message, on_end)
            return
        self._waiting.append((message, on_end, alone))
        if self._trying is None or self._trying.done():
            self._trying = asyncio.create_task(self._try_each())

    def is_proven(self, message: Message) -> bool:
        """False: it would be sent beside the others, which may overtake it."""
        return len(message.body) <= self._proven.get(message.exchange, -1) and self._most > 1

    async def _try_each(self) -> None:
        try:
            while self._waiting:
                if not self._shared.channel.is_open:
                    self._shared = await self._opened()
                message, _on_end, alone = self._waiting[0]
                is_shared = self.is_proven(message) and not alone
                publisher = self._shared if is_shared else await self._idle()
                _message, on_end, _alone = self._waiting.popleft()
                publisher.send(message, on_end)
                if not is_shared and publisher.unconfirmed:
                    await self._passed(publisher, message)
        except BrokerError as error:
            waiting, self._waiting = self._waiting, deque()
            for _message, on_end, _alone in waiting:
                on_end(ConfirmLost(f"no confirm: {error}", sent=False))

    async def _passed(self, publisher: Publisher, message: Message) -> None:
        """Note that a message is not refused, as soon as the broker answers to what was sent after it."""
        try:
            await publisher.channel.answers()
        except ConnectionLost:
            return
        self.prove(message.exchange, len(message.body))

    async def _idle(self) -> Publisher:
        """A channel on which nothing is unconfirmed."""
        while True:
            self._apart = [one for one in self._apart if one.channel.is_open]
            for one in self._apart:
                if not one.unconfirmed:
                    return one
            if len(self._apart) < self._most:
                self._apart.append(await self._opened())
            else:
                await asyncio.sleep(IDLE_S)

    async def _opened(self) -> Publisher:
        return self._kept(await Publisher.open(self._connection))

    def _kept(self, publisher: Publisher) -> Publisher:
        """A channel that ends for another reason takes the connection with it, and both are made again."""

        def on_closed(closed: asyncio.Future[ConnectionLost]) -> None:
            if closed.result().code not in REFUSALS:
                self._connection.fail(closed.result())

        publisher.channel.closed.add_done_callback(on_closed)
        return publisher
