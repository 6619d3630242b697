"""Removing all that waits in a queue."""

from __future__ import annotations

from dataclasses import dataclass

from broker.amqp.connection import Connection
from broker.amqp.counting import Count, count
from broker.dead_letters.queue import explained
from broker.errors import ConnectionLost, TimedOut


@dataclass(slots=True)
class Purge:
    """One of a queue. ``sent``: the broker was asked for it. ``purged``: how many it removed, if that is known."""

    queue: str
    sent: bool = False
    purged: int | None = None

    async def count(self, connection: Connection) -> Count:
        """Messages that are ready, and consumers."""
        channel = await connection.channel()
        try:
            return await count(channel, self.queue)
        except ConnectionLost as error:
            raise explained(error, self.queue) from error
        finally:
            await channel.close()

    async def run(self, connection: Connection) -> None:
        """Raises what ``count`` does, and ``TimedOut`` if nobody knows what was removed."""
        channel = await connection.channel()
        self.sent = True
        try:
            self.purged = await channel.purge(self.queue)
        except ConnectionLost as error:
            told = explained(error, self.queue)
            self.sent = told is error
            if self.sent:
                raise TimedOut(f"how many were purged is unknown: {error}") from error
            raise told from error
