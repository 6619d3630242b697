"""What autoscaling knows: ready tasks by AMQP, as of now; the rest by the management API, up to 10 s old."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from broker.amqp.connection import Connection
from broker.config.settings import Settings
from broker.errors import AccessRefused, BrokerError, ConnectionLost, Unreachable
from broker.management import Management
from broker.status.summary import Listing, status_of
from broker.topology.apply import open_once
from worker.scaling.autoscale import Sample

log = logging.getLogger("glassrabbit.pool")

API_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Look:
    """Of each queue that could be asked: its numbers and its consumers."""

    samples: dict[str, Sample] = field(default_factory=dict)
    consumers: dict[str, int] = field(default_factory=dict)
    #: Unacked deliveries of workers, by host and process id.
    held: dict[tuple[str, int], int] = field(default_factory=dict)


class Watch:
    """Keeps one connection for all looks, and opens another one when that is lost. ``close`` ends it."""

    def __init__(self, settings: Settings, queues: Sequence[str]) -> None:
        self._settings = settings
        self._queues = tuple(queues)
        self._connection: Connection | None = None
        self._told: set[str] = set()

    async def look(self) -> Look:
        """What can be known now. What cannot is missing, and logged once."""
        listing = asyncio.create_task(asyncio.to_thread(self._listed))
        inspected: dict[str, tuple[int, int]] = {}
        try:
            await self._inspect(inspected)
        except BrokerError as error:
            self._tell("no numbers", error)
        else:
            self._told.discard("no numbers")
        return self._look(inspected, await listing)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _inspect(self, into: dict[str, tuple[int, int]]) -> None:
        if self._connection is None or not self._connection.is_open:
            self._connection = await open_once(self._settings, "worker autoscale")
        for queue in self._queues:
            channel = await self._connection.channel()
            try:
                into[queue] = await channel.inspect_queue(queue)
                await channel.close()
            except ConnectionLost as error:
                # A queue that is missing, or not for this user to see, closes the channel alone.
                if not self._connection.is_open or not error.code:
                    raise
                self._tell(f"no numbers of {queue}", error)

    def _listed(self) -> Listing | None:
        """Called in a thread."""
        api = Management.of(self._settings.broker, API_TIMEOUT_S)
        try:
            return Listing(
                counts=api.counts(),
                consumers=api.consumers(),
                connections=api.connections(),
                channels=api.channels(),
            )
        except (Unreachable, AccessRefused) as error:
            self._tell("unacked tasks and rates are unknown", error)
            return None

    def _look(self, inspected: dict[str, tuple[int, int]], listing: Listing | None) -> Look:
        status = status_of(self._settings, inspected, listing, time.time())
        samples = {
            queue.name: Sample(inspected[queue.name][0], queue.unacked, queue.out_rate)
            for queue in status.work
            if queue.name in inspected
        }
        held = {(one.host, one.pid): one.unacked or 0 for one in status.workers or ()}
        return Look(samples, {queue: consumers for queue, (_, consumers) in inspected.items()}, held)

    def _tell(self, what: str, error: BrokerError) -> None:
        if what not in self._told:
            self._told.add(what)
            log.warning("%s: %s", what, error)
