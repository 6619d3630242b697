"""Consuming: one link, one channel, a consumer for each work queue and one for the obituaries.

Whatever ends any of it (the broker cancels a consumer, closes the channel, the connection dies) ends the whole
generation, and the link builds a new one. So *alive, connected and not consuming* cannot last.

Nor can *consuming, and served by nobody*: a node that is cut off from the majority keeps its clients, hands them
nothing, and does not tell them (RabbitMQ 4.3; 4.0 if its partition handling is ``ignore``). So a worker that holds
nothing and was given nothing for a while asks its queues for a message, and they have to answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

from broker.amqp.answers import resolve
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
from worker.intake.prefetch import Flow

log = logging.getLogger("glassrabbit.worker")

OBITUARY_PREFETCH = 20
#: So long a consumer that was replaced may take to fill up, see ``Channel.cancel``.
FILL_S = 0.1
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
        """``queues`` maps each work queue to its prefetch at first; ``concurrency`` tasks run at a
        time. ``granted_s``: how long a task may be held, by the broker's version; what it raises ends ``run``."""
        self.link = Link(settings, f"{name} consume", self._set_up)
        self._name = name
        self._queues = queues
        #: Work queue → how many deliveries of it are held at most, now.
        self.prefetch: dict[str, int] = dict(queues)
        #: Work queue → what is seen of it, by this connection.
        self.flows: dict[str, Flow] = {}
        self._concurrency = concurrency
        self._topology = topology
        self._handles = {**dict.fromkeys(queues, on_task), OBITUARIES: on_obituary}
        self._granted_s = granted_s
        self._timeout_s = 0
        self._channel: Channel | None = None
        #: Of the consumers of this channel, each with its queue; and how many were replaced.
        self._tags: dict[str, str] = {}
        self._replaced = 0
        #: Queues of which nothing is taken at present.
        self.paused: frozenset[str] = frozenset()
        self._changing = asyncio.Lock()
        self._rest: asyncio.Future[None] | None = None
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
        for queue in self._handles:
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
                self._deliver(channel, queue, self._prefetch_of(queue))(method, properties, body)
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
        self._channel, self._tags, self._replaced = channel, {}, 0
        self.prefetch = dict(self._queues)
        self.flows = {queue: Flow() for queue in self._handles}
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
                for tag in [tag for tag, queue in self._tags.items() if queue in paused]:
                    del self._tags[tag]
                    await channel.cancel(tag)
                for queue in self._handles:
                    if not self._cancelled and queue not in paused and queue not in self._tags.values():
                        await self._start(channel, queue, self._prefetch_of(queue), f"{self._name}.{queue}")

    def _prefetch_of(self, queue: str) -> int:
        return self.prefetch.get(queue, OBITUARY_PREFETCH)

    async def _start(self, channel: Channel, queue: str, prefetch: int, tag: str) -> None:
        on_delivery, room = self._deliver(channel, queue, prefetch), room_of(prefetch, self._concurrency)
        await channel.consume(queue, on_delivery, prefetch=prefetch, tag=tag, room=room, timeout_s=self._timeout_s)
        self._tags[tag] = queue

    async def pause(self, queues: frozenset[str]) -> None:
        """From now on take nothing of these queues, and of all others again. What was taken before stays."""
        self.paused = queues
        if self._channel is not None and self.is_consuming:
            # If it has ended, the next generation knows.
            with contextlib.suppress(ConnectionLost):
                await self._follow(self._channel)

    async def change(self, queue: str, prefetch: int, *, is_further: bool = False) -> bool:
        """From now on hold ``prefetch`` deliveries of a queue at most beside what is held already, or that many
        more than until now if it ``is_further``; False if nothing is consumed.

        The broker takes a prefetch for new consumers alone. The new one is there before those go that were.
        """
        async with self._changing:
            channel, before = self._channel, self.tags_of(queue)
            if self._cancelled or channel is None or not channel.is_open or not before:
                return False
            self._replaced += 1
            try:
                await self._start(channel, queue, prefetch, f"{self._name}.{queue}.{self._replaced}")
                for tag in [] if is_further else before:
                    await channel.cancel(tag, fill_s=FILL_S)
                    del self._tags[tag]
            except ConnectionLost as error:
                if channel is self._channel:
                    self.link.fail(error)
                return False
            self.prefetch[queue] = prefetch + is_further * self.prefetch[queue]
            return True

    def tags_of(self, queue: str) -> list[str]:
        """The tags of the consumers of a queue."""
        return [tag for tag, of in self._tags.items() if of == queue]

    def held_apart(self, queue: str) -> int:
        """Deliveries of a queue that came by consumers which were replaced, and are not settled."""
        if self._channel is None or queue not in self.flows:
            return 0
        return self.flows[queue].held - sum(map(self._channel.held_by, self.tags_of(queue)))

    async def counts(self, queue: str) -> tuple[int, int]:
        """Messages of a queue that wait there, and consumers of it that are not ours; 0 if there is no answer."""
        try:
            ready, consumers = (0, 0) if self._channel is None else await self._channel.inspect_queue(queue)
        except ConnectionLost:
            return 0, 0  # The next generation begins anew.
        return ready, consumers - len(self.tags_of(queue))

    async def news(self) -> None:
        """Return once something is delivered."""
        self._rest = asyncio.get_running_loop().create_future()
        await self._rest

    def _deliver(self, channel: Channel, queue: str, prefetch: int) -> Handed:
        handle, flow = self._handles[queue], self.flows[queue]

        def on_delivery(method: Delivered, properties: ReceivedProperties, body: bytes) -> None:
            flow.held += 1
            flow.taken += 1
            flow.size += len(body)
            if flow.held + channel.unwritten >= prefetch:
                flow.full += 1
            if self._rest is not None:
                resolve(self._rest, None)
                self._rest = None
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
                    flow=flow,
                    looks=flow.looks,
                )
            )

        return on_delivery

    async def cancel(self) -> None:
        """Take no more deliveries; those that are unacked can still be settled."""
        self._cancelled = True
        async with self._changing:
            tags, self._tags = self._tags, {}
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
