"""Consuming: one link, one channel, a consumer for each work queue and one for the obituaries.

Whatever ends any of it (the broker cancels a consumer, closes the channel, the connection dies) ends the whole
generation, and the link builds a new one. So *alive, connected and not consuming* cannot last.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from broker.channel import Channel
from broker.connection import Connection
from broker.declare import declare
from broker.errors import AccessRefused, ConnectionLost
from broker.link import Link, LinkSettings
from broker.topology import Topology
from protocol.names import OBITUARIES
from worker.delivery import Delivery

log = logging.getLogger("glassrabbit.worker")

OBITUARY_PREFETCH = 20
_NOT_FOUND = 404

OnDelivery = Callable[[Delivery], None]


class Consumer:
    """Life: ``run`` as a task → deliveries → ``cancel`` → ``stop``. ``is_consuming`` is the truth of it."""

    def __init__(
        self,
        settings: LinkSettings,
        name: str,
        queues: dict[str, int],
        topology: Topology,
        on_task: OnDelivery,
        on_obituary: OnDelivery,
    ) -> None:
        """``queues`` maps each work queue to its prefetch."""
        self.link = Link(settings, f"{name} consume", self._set_up)
        self._name = name
        self._queues = queues
        self._topology = topology
        self._on_task = on_task
        self._on_obituary = on_obituary
        self._channel: Channel | None = None
        self._tags: list[str] = []
        self._cancelled = False
        self.consuming = asyncio.Event()

    @property
    def is_consuming(self) -> bool:
        return self.link.is_open and self._channel is not None and self._channel.is_open and bool(self._tags)

    async def run(self) -> None:
        await self.link.run()

    async def _set_up(self, connection: Connection) -> None:
        if self.link.generation == 0:
            await self._declare(connection)
        try:
            await self._consume(connection)
        except ConnectionLost as error:
            if error.code != _NOT_FOUND:
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
        consumers = [(queue, prefetch, self._on_task) for queue, prefetch in self._queues.items()]
        consumers.append((OBITUARIES, OBITUARY_PREFETCH, self._on_obituary))
        for queue, prefetch, handle in consumers:
            if self._cancelled:
                break
            tag = f"{self._name}.{queue}"
            await channel.consume(queue, self._deliver(channel, queue, handle), prefetch=prefetch, tag=tag)
            self._tags.append(tag)
        if self._cancelled:
            # The stop came while this was going on, and could not know of the latest consumer.
            await self.cancel()
        # Only now: while the consumers are being made, a closed channel is for ``_set_up`` to deal with.
        channel.closed.add_done_callback(lambda closed: connection.fail(closed.result()))

    def _deliver(self, channel: Channel, queue: str, handle: OnDelivery) -> Callable[[Any, Any, bytes], None]:
        def on_delivery(method: Any, properties: Any, body: bytes) -> None:
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
