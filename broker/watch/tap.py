"""A tap: a queue of our own on the exchanges that tasks are published to, for as long as a connection lasts.

It gets a copy of each message, so each costs the broker once more. What reaches the tap must not be taken for
routed if its own queue is not bound: so every binding that the configuration has on a tapped exchange is made
first, which changes nothing where it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from broker.amqp.connection import Connection
from broker.amqp.handed_over import Delivered
from broker.config.settings import Settings
from broker.control.stream import now_ms
from broker.topology.model import topology_of
from protocol.batch import read_batch
from protocol.delay import LEVELS, due_key
from protocol.errors import Malformed
from protocol.names import TASKS, delay_level
from protocol.task import Task, read_task
from protocol.watching import Event, What

#: Beyond, the oldest go: a tap that is slow holds up nobody.
_MOST = 10_000


async def tap(
    connection: Connection, settings: Settings, tasks: Collection[str], on_event: Callable[[Event, bool], None]
) -> None:
    """Call back with each message of these tasks that is published, and whether the delay line moved it on.

    Raises ``ConnectionLost`` if this user may not.
    """
    channel, limits = await connection.channel(), settings.limits.messages
    switches = [delay_level(level) for level in range(LEVELS)]
    for one in topology_of(settings).bindings:
        if one.source in switches or (one.source == TASKS and one.routing_key in tasks):
            await channel.bind(one.source, one.destination, one.routing_key, to_exchange=one.to_exchange)
    queue = await channel.declare_own_queue({"x-max-length": _MOST, "x-overflow": "drop-head"})
    for task in tasks:
        await channel.bind(TASKS, queue, task, to_exchange=False)
    for switch in switches:
        await channel.bind(switch, queue, due_key("#"), to_exchange=False)

    def on_message(method: Delivered, properties: Any, body: bytes) -> None:
        try:
            task = read_task(properties, body, limits)
            ids = [one for one, _ in read_batch(body, task.batch, limits)] if task.batch else [task.id]
        except Malformed:
            return
        if task.name in tasks:
            on_event(_event(method, task, tuple(ids)), "x-death" in properties.headers)

    await channel.consume(queue, on_message, auto_ack=True)


def _event(method: Delivered, task: Task, ids: tuple[str, ...]) -> Event:
    return Event(
        number=0,
        worker="",
        what=What.PUBLISHED,
        at=now_ms(),
        ids=ids,
        task=task.name,
        exchange=method.exchange,
        key=method.routing_key,
        attempt=task.attempt,
        replay=task.replay,
        sent_at=task.sent_at,
        replayed_at=task.replayed_at,
    )
