"""What ``python -m broker declare`` and ``diff`` do, between the topology and the broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace

from broker.amqp.connection import Connection
from broker.amqp.link import LinkSettings
from broker.amqp.once import connected
from broker.config.settings import Settings
from broker.errors import AccessRefused, Unreachable
from broker.management import Management
from broker.topology.declare import declare, probe
from broker.topology.diff import compare, stale_bindings
from broker.topology.model import Binding, Topology, mailbox
from protocol.names import TASKS

#: A command does not wait longer for what it can do without.
_LOOK_S = 3.0

#: The part of its time that a command gives the management API before it does without.
API_SHARE = 0.5


def with_mailboxes(topology: Topology, names: tuple[str, ...]) -> Topology:
    boxes = [mailbox(name) for name in names]
    return replace(
        topology,
        queues=(*topology.queues, *(box.queue for box in boxes)),
        bindings=(*topology.bindings, *(box.binding for box in boxes)),
    )


async def differences(
    settings: Settings, topology: Topology, timeout_s: float, *, waits: bool = False
) -> tuple[list[str], str | None]:
    """What differs, a line each, and a note if the management API could not be asked.

    Without it the broker itself is asked: then each line names the first differing argument only, and stale
    bindings stay unseen.
    """
    LinkSettings.of(settings)  # a file of broker.tls that cannot be used is reported before anyone is asked
    until_s = time.monotonic() + timeout_s
    api = Management.of(settings.broker, API_SHARE * timeout_s)
    try:
        listed = await asyncio.gather(
            *map(asyncio.to_thread, (api.exchanges, api.queues, api.bindings, api.policies))
        )
        return [str(one) for one in compare(topology, *listed)], None
    except (Unreachable, AccessRefused) as error:
        try:
            lines = await connected(
                settings,
                "broker diff",
                lambda connection: probe(connection, topology),
                timeout_s=until_s - time.monotonic(),
                waits=waits,
            )
        except AccessRefused as refused:
            raise AccessRefused(f"{refused} But {error}") from refused
        return lines, f"{error} Bindings were not compared."


async def declare_all(
    settings: Settings, topology: Topology, *, prune: bool, timeout_s: float, waits: bool
) -> list[str]:
    """Declare; with ``prune`` first unbind what is stale. Returns what is stale, or was: a line each.

    Without ``prune`` nothing is seen of it where the management API cannot be asked. Raises what ``connected`` and
    ``declare`` do.
    """
    until_s, stale = time.monotonic() + timeout_s, list[Binding]()

    async def look(most_s: float = timeout_s) -> None:
        api = Management.of(settings.broker, max(0.1, min(most_s, until_s - time.monotonic())))
        stale[:] = stale or stale_bindings(topology, await asyncio.to_thread(api.bindings))

    async def make(connection: Connection) -> None:
        if prune:
            await look()
            channel = await connection.channel()
            for one in stale:
                await channel.unbind(one.source, one.destination, one.routing_key, to_exchange=one.to_exchange)
            await channel.close()
        await declare(connection, topology)

    await connected(settings, "broker declare", make, timeout_s=timeout_s, waits=waits)
    if not prune:
        with suppress(Unreachable, AccessRefused):
            await look(_LOOK_S)
    return [f"{one.source} → {one.destination} ({one.routing_key})" for one in stale]


def bound_tasks(settings: Settings) -> Collection[str]:
    """The tasks that a queue is bound for; if the management API cannot be asked, those of the configuration."""
    try:
        bindings = Management.of(settings.broker, _LOOK_S).bindings()
    except (Unreachable, AccessRefused):
        return settings.tasks
    return {str(one.get("routing_key")) for one in bindings if one.get("source") == TASKS}
