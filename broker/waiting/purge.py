"""Removing all that waits in a queue."""

from __future__ import annotations

from dataclasses import dataclass

from broker.amqp.connection import Connection
from broker.amqp.counting import Count, count
from broker.dead_letters.queue import asked
from broker.errors import BrokerError, ConnectionLost, TimedOut


@dataclass(slots=True)
class Purge:
    """One of a queue. ``sent``: the broker was asked for it. ``purged``: how many it removed, if that is known."""

    queue: str
    sent: bool = False
    purged: int | None = None

    async def count(self, connection: Connection) -> Count:
        """Messages that are ready, and consumers."""
        async with asked(connection, self.queue) as channel:
            return await count(channel, self.queue)

    async def run(self, connection: Connection) -> None:
        """Raises what ``count`` does, and ``TimedOut`` if nobody knows what was removed."""
        try:
            async with asked(connection, self.queue) as channel:
                self.sent = True
                self.purged = await channel.purge(self.queue)
        except ConnectionLost as error:
            raise TimedOut(f"how many were purged is unknown: {error}") from error
        except BrokerError:
            self.sent = False
            raise
