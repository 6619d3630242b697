"""What ``python -m broker declare`` and ``diff`` do, between the topology and the broker."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace

from broker.amqp.connection import Connection, connect
from broker.amqp.link import LinkSettings
from broker.config.settings import Settings
from broker.errors import AccessRefused, BrokerError, Unreachable
from broker.management import TIMEOUT_S, Management
from broker.topology.declare import declare, probe
from broker.topology.diff import Difference, compare, stale_bindings
from broker.topology.model import Binding, Topology, mailbox
from protocol.names import TASKS

#: A command does not wait longer for what it can do without.
_LOOK_S = 3.0


async def open_once(settings: Settings, name: str) -> Connection:
    """One connection for a command: the first endpoint that answers. Raises what the last one said."""
    link = LinkSettings.of(settings)
    last: BrokerError | None = None
    for endpoint in random.sample(link.endpoints, len(link.endpoints)):
        try:
            return await connect(
                endpoint,
                name=name,
                heartbeat_s=link.heartbeat_s,
                timeout_s=link.connect_timeout_s,
                tls=link.tls,
            )
        except BrokerError as error:
            last = error
    assert last is not None
    raise last


def with_mailboxes(topology: Topology, names: tuple[str, ...]) -> Topology:
    boxes = [mailbox(name) for name in names]
    return replace(
        topology,
        queues=(*topology.queues, *(box.queue for box in boxes)),
        bindings=(*topology.bindings, *(box.binding for box in boxes)),
    )


async def differences(settings: Settings, topology: Topology) -> tuple[list[str], str | None]:
    """What differs, a line each, and a note if the management API could not be asked.

    Without it the broker itself is asked: then each line names the first differing argument only, and stale
    bindings stay unseen.
    """
    LinkSettings.of(settings)  # a file of broker.tls that cannot be used is told before anyone is asked
    try:
        return [str(one) for one in await asyncio.to_thread(_listed, settings, topology)], None
    except (Unreachable, AccessRefused) as error:
        connection = await open_once(settings, "broker diff")
        try:
            return await probe(connection, topology), f"{error} Bindings were not compared."
        finally:
            await connection.close()


async def declare_all(settings: Settings, topology: Topology, *, prune: bool) -> list[str]:
    """Declare; with ``prune`` first unbind what is stale. Returns what is stale, or was: a line each.

    Without ``prune`` nothing is seen of it where the management API cannot be asked.
    """
    connection = await open_once(settings, "broker declare")
    try:
        stale = await asyncio.to_thread(_stale, settings, topology) if prune else []
        channel = await connection.channel()
        for binding in stale:
            await channel.unbind(
                binding.source, binding.destination, binding.routing_key, to_exchange=binding.to_exchange
            )
        await channel.close()
        await declare(connection, topology)
    finally:
        await connection.close()
    if not prune:
        with suppress(Unreachable, AccessRefused):
            stale = await asyncio.to_thread(_stale, settings, topology, _LOOK_S)
    return [f"{one.source} → {one.destination} ({one.routing_key})" for one in stale]


def bound_tasks(settings: Settings) -> Collection[str]:
    """The tasks that a queue is bound for; if the management API cannot be asked, those of the configuration."""
    try:
        bindings = Management.of(settings.broker).bindings()
    except (Unreachable, AccessRefused):
        return settings.tasks
    return {str(one.get("routing_key")) for one in bindings if one.get("source") == TASKS}


def _listed(settings: Settings, topology: Topology) -> list[Difference]:
    api = Management.of(settings.broker)
    return compare(topology, api.exchanges(), api.queues(), api.bindings(), api.policies())


def _stale(settings: Settings, topology: Topology, timeout_s: float = TIMEOUT_S) -> list[Binding]:
    return stale_bindings(topology, Management.of(settings.broker, timeout_s).bindings())
