"""Taking replies out of a mailbox: each is acked only after the caller has dealt with it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator

from broker.amqp.channel import Channel
from broker.amqp.connection import Connection
from broker.amqp.handed_over import Delivered
from broker.errors import ACCESS_REFUSED, NOT_FOUND, AccessRefused, ConnectionLost
from dispatcher.errors import NoMailbox
from protocol.limits import Limits
from protocol.names import mailbox_queue
from protocol.properties import ReceivedProperties
from protocol.reply import Reply, Unreadable, read_replies

log = logging.getLogger("glassrabbit.dispatcher")

#: Replies that wait here, unacked, for the caller.
PREFETCH = 100
#: Ids that are remembered to give a reply that came twice once.
REMEMBERED = 100_000

Message = tuple[Delivered, ReceivedProperties, bytes]


class Mailbox:
    """Reads one mailbox on a channel of its own. What was not acked goes back when it is closed."""

    def __init__(self, name: str, limits: Limits) -> None:
        self._name = name
        self._limits = limits
        self._seen: OrderedDict[tuple[str, int], None] = OrderedDict()

    async def read(
        self, connection: Connection, count: int | None, deadline_s: float
    ) -> AsyncGenerator[Reply, None]:
        """Replies that were not given before: what is there, or up to ``count`` of them until the deadline.

        The message is acked when the next reply is asked for. Raises ``NoMailbox``, ``ConnectionLost``.
        """
        channel = await connection.channel()
        try:
            messages = self._fetch(channel) if count is None else self._wait(channel, count, deadline_s)
            given = 0
            async for method, _properties, body in messages:
                for reply in self._read(body):
                    yield reply
                    given += 1
                channel.ack(method.delivery_tag)
                # Acks leave with the turn of the loop: this one before the next reply is given.
                await asyncio.sleep(0)
                if count is not None and given >= count:
                    break
        except ConnectionLost as error:
            if error.code == NOT_FOUND:
                raise NoMailbox(self._name) from error
            if error.code == ACCESS_REFUSED:
                raise AccessRefused(
                    f"this user may not read mailbox {self._name}. Check its permissions."
                ) from error
            raise
        finally:
            await channel.close()

    def _read(self, body: bytes) -> list[Reply]:
        new = []
        for reply in read_replies(body, self._limits):
            if isinstance(reply, Unreadable):
                log.warning("a message in mailbox %s is no reply and was dropped: %s", self._name, reply.error)
            elif _key(reply) not in self._seen:
                new.append(reply)
        self._seen.update((_key(reply), None) for reply in new)
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return new

    async def _fetch(self, channel: Channel) -> AsyncIterator[Message]:
        while (message := await channel.get(mailbox_queue(self._name))) is not None:
            yield message

    async def _wait(self, channel: Channel, count: int, deadline_s: float) -> AsyncIterator[Message]:
        arrived: asyncio.Queue[Message | None] = asyncio.Queue()
        channel.closed.add_done_callback(lambda _closed: arrived.put_nowait(None))
        # The broker cancels a consumer whose queue is deleted.
        channel.on_cancel(lambda _tag: channel.end(ConnectionLost("the mailbox was deleted", NOT_FOUND)))
        await channel.consume(
            mailbox_queue(self._name),
            lambda method, properties, body: arrived.put_nowait((method, properties, body)),
            prefetch=min(count, PREFETCH),
        )
        while True:
            try:
                message = await asyncio.wait_for(arrived.get(), max(0.0, deadline_s - time.monotonic()))
            except TimeoutError:
                return
            if message is None:
                raise channel.closed.result()
            yield message


def _key(reply: Reply) -> tuple[str, int]:
    """A task that is replayed ends once more."""
    return reply.id, reply.run.replay
