"""Where replies come to: a channel that consumes ``amq.rabbitmq.reply-to``, and the address that requests name.

The broker puts the address in the place of the literal in whatever is published on that very channel
(https://www.rabbitmq.com/docs/direct-reply-to). A message that no queue is bound for comes back with it, which
takes no right but that to publish tasks; measured on 3.10.8, 4.0.5 and 4.3.6. Then requests go by other channels,
and one that the broker refuses by closing its channel costs no reply.
"""

from __future__ import annotations

import asyncio
import logging

from broker.amqp.careful import CarefulPublisher
from broker.amqp.connection import Connection
from broker.amqp.handed_over import OnDelivery
from broker.amqp.publisher import Message, OnEnd, Publisher
from broker.amqp.traffic import Traffic
from broker.errors import BrokerError, MayNotPublish, NoExchange, Unroutable
from protocol.names import DIRECT_REPLY_TO, TASKS
from protocol.properties import Properties

log = logging.getLogger("glassrabbit.dispatcher")

#: No name of a task.
_NOBODY = "to learn a reply address"


class ReplyChannel:
    """Of one connection. It is opened when its address is asked for first."""

    def __init__(self, connection: Connection, publisher: CarefulPublisher, on_reply: OnDelivery) -> None:
        self._connection = connection
        self._on_reply = on_reply
        self._waiting: list[OnEnd] = []
        self._learning: asyncio.Task[None] | None = None
        #: What requests name; empty until it is known.
        self.address = ""
        #: What sends them.
        self.publisher = publisher

    def learn(self, on_end: OnEnd) -> None:
        """Call back once ``address`` is known, or with why nobody here may publish tasks at all. Nobody is called
        if the connection ends before."""
        self._waiting.append(on_end)
        if self._learning is None:
            self._learning = asyncio.create_task(self._learn())

    async def _learn(self) -> None:
        refusal = None
        try:
            await self._open()
        except (MayNotPublish, NoExchange) as error:
            refusal = error
        except BrokerError as error:
            self._connection.fail(error)
            return
        self._learning = None
        waiting, self._waiting = self._waiting, []
        for on_end in waiting:
            on_end(refusal)

    async def _open(self) -> None:
        channel = await self._connection.channel()
        await channel.consume(DIRECT_REPLY_TO, self._on_reply, auto_ack=True)
        publisher = await Publisher.open(self._connection, channel)
        publisher.traffic = Traffic()
        probe = Properties(reply_to=DIRECT_REPLY_TO)
        try:
            await publisher.publish(Message(exchange=TASKS, routing_key=_NOBODY, body=b"", properties=probe))
        except Unroutable as error:
            if error.reply_to is not None and error.reply_to != DIRECT_REPLY_TO:
                self.address = error.reply_to
                self.publisher.prove(TASKS)
        channel.closed.add_done_callback(lambda closed: self._connection.fail(closed.result()))
        if not self.address:
            log.warning(
                "what no queue is bound for does not come back from exchange %s, so that no reply address can be "
                "learned: tasks that want replies are sent one at a time. Check it for an alternate exchange.",
                TASKS,
            )
            publisher.traffic = self._connection.traffic
            self.address = DIRECT_REPLY_TO
            self.publisher = CarefulPublisher(self._connection, publisher, one_by_one=True)
