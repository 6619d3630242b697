"""Consuming: one link, one channel, a consumer for each work queue and one for the obituaries.

Whatever ends any of it (the broker cancels a consumer, closes the channel, the connection dies) ends the whole
generation, and the link builds a new one. So *alive, connected and not consuming* cannot last.

Nor can *consuming, and served by nobody*: a node that is cut off from the majority keeps its clients, hands them
nothing, and does not tell them (RabbitMQ 4.3; 4.0 if its partition handling is ``ignore``). So a worker that holds
nothing and was given nothing for a while asks its queues for a message, and they have to answer. To make its
consumers again would ask as well, but pika rejects what arrives for a consumer that is being cancelled, and the
broker counts that against the delivery limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

from broker.amqp.channel import Channel
from broker.amqp.connection import Connection
from broker.amqp.handed_over import Delivered
from broker.amqp.handed_over import OnDelivery as Handed
from broker.amqp.link import Link, LinkSettings
from broker.errors import NOT_FOUND, AccessRefused, ConnectionLost
from broker.topology.declare import declare
from broker.topology.model import Topology
from protocol.names import OBITUARIES
from protocol.properties import ReceivedProperties
from worker.intake.delivery import Delivery

log = logging.getLogger("glassrabbit.worker")

OBITUARY_PREFETCH = 20
#: Between two looks at least, at most twice as long. A worker that was idle from one to the next asks its queues.
LOOK_S = 10.0
#: How long after a queue's answer that may arrive which was published while it was asked.
LATE_S = 1.0

OnDelivery = Callable[[Delivery], None]


class Consumer:
    """Life: ``run`` as a task → deliveries → ``cancel`` → ``stop``. ``is_consuming`` is the truth of it."""

    def __init__(
        self,
        settings: LinkSettings,
        name: str,
        queues: dict[str, int],
        concurrency: int,
        topology: Topology,
        on_task: OnDelivery,
        on_obituary: OnDelivery,
        granted_s: Callable[[str], int],
    ) -> None:
        """``queues`` maps each work queue to its prefetch; ``concurrency`` tasks run at a time. ``granted_s``: how
        long a task may be held, by the broker's version; what it raises ends ``run``."""
        self.link = Link(settings, f"{name} consume", self._set_up)
        self._name = name
        self._queues = queues
        self._concurrency = concurrency
        self._topology = topology
        self._on_task = on_task
        self._on_obituary = on_obituary
        self._granted_s = granted_s
        self._timeout_s = 0
        self._channel: Channel | None = None
        self._tags: list[str] = []
        #: Queues of which nothing is taken at present.
        self.paused: frozenset[str] = frozenset()
        self._changing = asyncio.Lock()
        self._cancelled = False
        self.consuming = asyncio.Event()

    @property
    def is_consuming(self) -> bool:
        return self.link.is_open and self._channel is not None and self._channel.is_open and bool(self._tags)

    @property
    def unacked(self) -> int:
        """Deliveries that are not settled, obituaries included."""
        return self._channel.unsettled if self._channel is not None and self._channel.is_open else 0

    async def run(self) -> None:
        watch = asyncio.create_task(self._watch())
        try:
            await self.link.run()
        finally:
            watch.cancel()

    async def _watch(self) -> None:
        """End a generation whose queues do not answer, or hold messages back, while it has nothing to lose."""
        idle: tuple[Channel, int] | None = None
        while True:
            await asyncio.sleep(random.uniform(LOOK_S, 2 * LOOK_S))
            channel, before = self._channel, idle
            if channel is None or not self.is_consuming or channel.unsettled:
                idle = None
                continue
            idle = channel, channel.last_tag
            if idle != before:
                continue
            try:
                await self._ask(channel)
            except ConnectionLost as error:
                self.link.fail(error)  # No answer; or the channel has ended, and its generation with it.

    async def _ask(self, channel: Channel) -> None:
        """Fetch a message from each queue: one whose consumer is served has none, since the consumer has room."""
        for queue, _, handle in self._consumers():
            before = channel.last_tag
            got = await channel.get(queue)
            if got is None:
                continue
            await asyncio.sleep(LATE_S)
            method, properties, body = got
            if queue in self.paused:
                channel.nack(method.delivery_tag)
                continue
            if channel.last_tag > before + 1 and self.is_consuming:
                # As many came at this very moment as the prefetch allows, and one more had to wait.
                self._deliver(channel, queue, handle)(method, properties, body)
                continue
            channel.nack(method.delivery_tag)
            self.link.fail(ConnectionLost(f"the broker hands out nothing of {queue}, which holds messages"))
            return

    async def _set_up(self, connection: Connection) -> None:
        self._timeout_s = self._granted_s(connection.server_version)
        if self.link.generation == 0:
            await self._declare(connection)
        try:
            await self._consume(connection)
        except ConnectionLost as error:
            if error.code != NOT_FOUND:
                raise
            # Someone deleted a queue, or the broker lost its data: make it again if this user may.
            log.warning("a queue is missing and is declared again: %s", error)
            await self._declare(connection)
            await self._consume(connection)
        self.consuming.set()

    async def _declare(self, connection: Connection) -> None:
        try:
            await declare(connection, self._topology)
        except AccessRefused:
            log.info("%s may not declare: working on the topology that is there", self._name)

    async def _consume(self, connection: Connection) -> None:
        channel = await connection.channel()
        channel.on_cancel(lambda tag: connection.fail(_cancelled_by_broker(tag)))
        self._channel, self._tags = channel, []
        await self._follow(channel)
        if self._cancelled:
            # The stop came while this was going on, and could not know of the latest consumer.
            await self.cancel()
        # Only now: while the consumers are being made, a closed channel is for ``_set_up`` to deal with.
        channel.closed.add_done_callback(lambda closed: connection.fail(closed.result()))

    async def _follow(self, channel: Channel) -> None:
        """Have a consumer for each queue that is not paused, and for no other. Raises ``ConnectionLost``."""
        paused: frozenset[str] | None = None
        async with self._changing:
            while paused != self.paused and not self._cancelled:
                paused = self.paused
                wanted = {f"{self._name}.{consumer[0]}": consumer for consumer in self._consumers()}
                for tag in [tag for tag in self._tags if tag not in wanted]:
                    self._tags.remove(tag)
                    await channel.cancel(tag)
                for tag, (queue, prefetch, handle) in wanted.items():
                    if self._cancelled or tag in self._tags:
                        continue
                    on_delivery, room = self._deliver(channel, queue, handle), room_of(prefetch, self._concurrency)
                    await channel.consume(
                        queue, on_delivery, prefetch=prefetch, tag=tag, room=room, timeout_s=self._timeout_s
                    )
                    self._tags.append(tag)

    def _consumers(self) -> list[tuple[str, int, OnDelivery]]:
        """Of each its queue, its prefetch, and who takes what it is given."""
        tasks = [
            (queue, prefetch, self._on_task)
            for queue, prefetch in self._queues.items()
            if queue not in self.paused
        ]
        return [*tasks, (OBITUARIES, OBITUARY_PREFETCH, self._on_obituary)]

    async def pause(self, queues: frozenset[str]) -> None:
        """From now on take nothing of these queues, and of all others again. What was taken before stays."""
        self.paused = queues
        if self._channel is not None and self.is_consuming:
            # If it has ended, the next generation knows.
            with contextlib.suppress(ConnectionLost):
                await self._follow(self._channel)

    def _deliver(self, channel: Channel, queue: str, handle: OnDelivery) -> Handed:
        def on_delivery(method: Delivered, properties: ReceivedProperties, body: bytes) -> None:
            handle(
                Delivery(
                    channel=channel,
                    tag=method.delivery_tag,
                    queue=queue,
                    exchange=method.exchange,
                    routing_key=method.routing_key,
                    redelivered=method.redelivered,
                    properties=properties,
                    body=body,
                )
            )

        return on_delivery

    async def cancel(self) -> None:
        """Take no more deliveries; those that are unacked can still be settled."""
        self._cancelled = True
        tags, self._tags = self._tags, []
        if self._channel is None or not self._channel.is_open:
            return
        try:
            for tag in tags:
                await self._channel.cancel(tag)
        except ConnectionLost:
            return

    async def stop(self, timeout_s: float) -> None:
        """Close the connection, waiting at most ``timeout_s`` for the broker's answer: from the call on nothing
        can be settled, and whatever is unacked goes back to its queue."""
        await self.link.stop(timeout_s)


def _cancelled_by_broker(tag: str) -> ConnectionLost:
    """After the broker's cancel nothing may be acked on that channel: on 4.3 a late ack revives the consumer."""
    return ConnectionLost(f"the broker cancelled the consumer {tag}")


def room_of(prefetch: int, concurrency: int) -> int:
    """How many deliveries may be held while acks wait: the broker must still be able to hand out half of the
    prefetch, and as many as run at a time, or all but an eighth of them."""
    return min(prefetch // 2, max(prefetch - concurrency, prefetch // 8))
