"""Make a topology on a broker, or find out that it differs.

Declaring what is there with the same arguments changes nothing. With other arguments the broker answers 406
and closes the channel, naming one argument; this module goes on with a new channel and collects them all.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator

from broker.amqp.channel import Channel
from broker.amqp.connection import Connection
from broker.errors import (
    ACCESS_REFUSED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    AccessRefused,
    ConnectionLost,
    TopologyDrift,
)
from broker.topology.model import Binding, Exchange, Mailbox, Queue, Topology
from protocol.names import REPLIES, TASKS

#: RabbitMQ's sentence of a 406, the same from 3.10 to 4.3.
_INEQUIVALENT = re.compile(
    r"inequivalent arg '(?P<argument>[^']+)' for (?P<kind>\w+) '(?P<name>[^']+)'.*?"
    r"received (?P<ours>.+?) but current is (?P<theirs>.+)"
)


async def declare(connection: Connection, topology: Topology) -> None:
    """Make everything of ``topology`` that is missing.

    Raises ``TopologyDrift`` with one line for each thing that is there and different, after everything else
    was made; ``AccessRefused`` if this user may not declare.
    """
    drifts: list[str] = []
    channel = await connection.channel()

    async def make(step: Callable[[Channel], Awaitable[None]]) -> None:
        nonlocal channel
        try:
            await step(channel)
        except ConnectionLost as error:
            if error.code == ACCESS_REFUSED:
                raise AccessRefused(f"this user may not declare the topology: {error}") from error
            if error.code != PRECONDITION_FAILED:
                raise
            drifts.append(_explain(str(error)))
            channel = await connection.channel()

    for step in _in_order(topology):
        await make(step)
    await channel.close()
    if drifts:
        raise TopologyDrift("\n".join(drifts))


async def remove(connection: Connection, topology: Topology) -> None:
    """Delete everything of ``topology`` with all messages. Deleting what is not there is no error to RabbitMQ."""
    channel = await connection.channel()
    for queue in topology.queues:
        await channel.delete_queue(queue.name)
    for exchange in topology.exchanges:
        await channel.delete_exchange(exchange.name)
    await channel.close()


async def is_declared(connection: Connection) -> bool:
    """Whether this vhost has a topology of ours, or might have one that this user cannot see."""
    return await _is_there(connection, TASKS)


async def probe(connection: Connection, topology: Topology) -> list[str]:
    """What of the exchanges and queues is missing or different, a line each; changes nothing.

    What is there is declared once more, which has no effect if it is the same, and a 406 if it is not. Raises
    ``AccessRefused`` for a user who may not.
    """
    lines: list[str] = []

    async def look(kind: str, name: str, *steps: Callable[[Channel], Awaitable[object]]) -> None:
        channel = await connection.channel()
        try:
            for step in steps:
                await step(channel)
            await channel.close()
        except ConnectionLost as error:
            if error.code == NOT_FOUND:
                lines.append(f"{kind} {name}: missing on the broker")
            elif error.code == PRECONDITION_FAILED:
                lines.append(_explain(str(error)))
            elif error.code == ACCESS_REFUSED:
                why = "compares by the management API alone"
                raise AccessRefused(f"this user may not declare {kind} {name}, and {why}.") from error
            else:
                raise

    for exchange in topology.exchanges:
        await look("exchange", exchange.name, _exchange_is_there(exchange), _exchange_step(exchange))
    for queue in topology.queues:
        await look("queue", queue.name, _queue_is_there(queue), _queue_step(queue))
    return lines


async def ensure(connection: Connection, topology: Topology) -> bool:
    """Make the topology if it is not all there and this user may; True if it was made.

    One passive declare decides, so that a start costs a round trip and not a hundred: what is declared last is
    there only if everything else is.
    """
    if await _is_there(connection, REPLIES) and await _is_there(connection, TASKS):
        return False
    await declare(connection, topology)
    return True


async def _is_there(connection: Connection, exchange: str) -> bool:
    """Also true if this user may not know: RabbitMQ 4.3 lets one see only what one has some right to."""
    channel = await connection.channel()
    try:
        await channel.require_exchange(exchange)
    except ConnectionLost as error:
        if error.code not in (NOT_FOUND, ACCESS_REFUSED):
            raise
        return error.code == ACCESS_REFUSED
    await channel.close()
    return True


async def ensure_mailbox(connection: Connection, mailbox: Mailbox) -> bool:
    """Declare a mailbox, or find it there if this user may not declare; False if there is none."""
    try:
        await declare(connection, Topology((), (mailbox.queue,), (mailbox.binding,)))
    except AccessRefused:
        channel = await connection.channel()
        try:
            await channel.inspect_queue(mailbox.queue.name)
        except ConnectionLost as error:
            if error.code == NOT_FOUND:
                return False
            # A user who may not even look may still publish to it or read from it.
            return error.code == ACCESS_REFUSED
        await channel.close()
    return True


def _in_order(topology: Topology) -> Iterator[Callable[[Channel], Awaitable[None]]]:
    """Everything, and last the exchange of the mailboxes, which nothing else needs: its presence says to
    ``ensure`` that a declaration was completed."""
    yield from (_exchange_step(exchange) for exchange in topology.exchanges if exchange.name != REPLIES)
    yield from (_queue_step(queue) for queue in topology.queues)
    yield from (_binding_step(binding) for binding in topology.bindings if binding.source != REPLIES)
    yield from (_exchange_step(exchange) for exchange in topology.exchanges if exchange.name == REPLIES)
    yield from (_binding_step(binding) for binding in topology.bindings if binding.source == REPLIES)


def _exchange_step(exchange: Exchange) -> Callable[[Channel], Awaitable[None]]:
    return lambda channel: channel.declare_exchange(exchange.name, exchange.type, exchange.arguments)


def _exchange_is_there(exchange: Exchange) -> Callable[[Channel], Awaitable[None]]:
    return lambda channel: channel.require_exchange(exchange.name)


def _queue_is_there(queue: Queue) -> Callable[[Channel], Awaitable[object]]:
    return lambda channel: channel.inspect_queue(queue.name)


def _queue_step(queue: Queue) -> Callable[[Channel], Awaitable[None]]:
    return lambda channel: channel.declare_queue(queue.name, queue.arguments)


def _binding_step(binding: Binding) -> Callable[[Channel], Awaitable[None]]:
    return lambda channel: channel.bind(
        binding.source, binding.destination, binding.routing_key, to_exchange=binding.to_exchange
    )


def _explain(text: str) -> str:
    match = _INEQUIVALENT.search(text)
    if match is None:
        return f"{text}. Compare with `python -m broker diff`."
    return (
        f"{match['kind']} {match['name']}: {match['argument']} is {match['theirs']} on the broker, "
        f"{match['ours']} in the configuration. "
        "Change the configuration, or delete it when it is empty and run `python -m broker declare`."
    )
