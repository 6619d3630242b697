"""Counts of messages and consumers that are known, and not a 0 for what nobody knows.

A passive declare of a quorum queue without a leader answers 0 and 0 (RabbitMQ 3.10 to 4.3), as of one that is
empty and has no consumer. Only that one answers a ``basic.get`` as well.
"""

from __future__ import annotations

import asyncio

from broker.amqp.channel import Channel
from broker.amqp.connection import Connection
from broker.errors import NOT_FOUND, ConnectionLost

#: Ready messages, and consumers.
Count = tuple[int, int]


async def count(channel: Channel, queue: str) -> Count:
    """Raises ``NoMajority`` if the queue has no leader. If it is missing, or may not be read, the channel ends."""
    ready, consumers = await channel.inspect_queue(queue)
    if not (ready or consumers) and (got := await channel.get(queue)) is not None:
        # It came in this very moment.
        channel.nack(got[0].delivery_tag)
        ready = 1 + got[0].message_count
    return ready, consumers


async def count_all(connection: Connection, into: dict[str, Count | None]) -> None:
    """Fill in each queue that is None: one that is missing is taken out, one that this user may not see or read
    stays None. Raises ``ConnectionLost`` if not all could be asked; then it can be called again."""

    async def one(queue: str) -> None:
        channel = await connection.channel()
        try:
            into[queue] = await count(channel, queue)
            await channel.close()
        except ConnectionLost as error:
            if not connection.is_open or not error.code:
                raise
            if error.code == NOT_FOUND:
                del into[queue]

    asked = [one(queue) for queue, found in into.items() if found is None]
    for error in await asyncio.gather(*asked, return_exceptions=True):
        if error is not None:
            raise error
