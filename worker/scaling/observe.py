"""What autoscaling knows: ready tasks by AMQP, as of now; the rest by the management API, up to 10 s old."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from broker.amqp.connection import Connection
from broker.amqp.counting import Count, count_all
from broker.amqp.once import open_once
from broker.config.settings import Settings
from broker.errors import AccessRefused, BrokerError, Unreachable
from broker.management import Management
from broker.status.summary import Listing, status_of
from worker.scaling.autoscale import Sample

log = logging.getLogger("glassrabbit.pool")

API_TIMEOUT_S = 3.0
#: For what is asked by AMQP at one look.
LOOK_S = 10.0


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
        self._logged: set[str] = set()

    async def look(self) -> Look:
        """What can be known now. What cannot is missing, and logged once."""
        listing = asyncio.create_task(asyncio.to_thread(self._listed))
        counts: dict[str, Count | None] = dict.fromkeys(self._queues)
        try:
            await self._count(counts)
        except BrokerError as error:
            await self.close()
            self._log_once("no numbers", error)
        else:
            self._logged.discard("no numbers")
        known = {queue: found for queue, found in counts.items() if found is not None}
        return self._numbers(known, await listing)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _count(self, into: dict[str, Count | None]) -> None:
        if self._connection is None or not self._connection.is_open:
            self._connection = await open_once(self._settings, "worker autoscale", LOOK_S)
        self._connection.deadline_s = time.monotonic() + LOOK_S
        await count_all(self._connection, into)
        for queue in self._queues:
            if into.get(queue) is None:
                self._log_once(f"no numbers of {queue}", "it is missing, or not for this user to see")

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
            self._log_once("unacked tasks and rates are unknown", error)
            return None

    def _numbers(self, inspected: dict[str, Count], listing: Listing | None) -> Look:
        status = status_of(self._settings, inspected, listing, time.time())
        samples = {
            queue.name: Sample(inspected[queue.name][0], queue.unacked, queue.out_rate)
            for queue in status.work
            if queue.name in inspected
        }
        held = {(one.host, one.pid): one.unacked or 0 for one in status.workers or ()}
        return Look(samples, {queue: consumers for queue, (_, consumers) in inspected.items()}, held)

    def _log_once(self, what: str, error: BrokerError | str) -> None:
        if what not in self._logged:
            self._logged.add(what)
            log.warning("%s: %s", what, error)
