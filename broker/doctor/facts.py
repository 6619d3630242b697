"""Gathers what the doctor's checks judge: asks the broker by AMQP and the management API, side by side.

Nothing of it changes anything, but for a probe that was asked for. Rights to write are tried with messages that no
queue is bound for, which the broker returns; rights to read with empty queues alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from broker.amqp.connection import Connection, connect
from broker.amqp.link import LinkSettings
from broker.amqp.publisher import Message, Publisher
from broker.config.endpoint import Endpoint
from broker.config.settings import Settings
from broker.doctor.check_access import DEFAULT_EXCHANGE
from broker.doctor.probe import send_probe
from broker.doctor.verdict import Api, Facts, Reached, Rights
from broker.errors import (
    AccessRefused,
    BrokerError,
    ConfirmLost,
    ConnectionLost,
    MayNotPublish,
    NoExchange,
    PublishError,
    Unreachable,
)
from broker.management import Management, tags_of
from broker.status.summary import queue_names
from broker.topology.declare import probe
from broker.topology.diff import Difference, compare
from broker.topology.model import Topology, topology_of
from protocol.delay import LEVELS
from protocol.names import DEAD, OBITUARIES, REPLIES, TASKS, delay_level, new_id
from protocol.properties import Properties

API_TIMEOUT_S = 3.0
#: For the broker's word on a message that is tried; under an alarm there is none.
TRIAL_S = 1.5
_ACCESS_REFUSED = 403


async def gather(settings: Settings, probe_task: str | None = None, probe_timeout_s: float = 10.0) -> Facts:
    """Ask for everything at once, and send ``probe_task`` if one is named.

    Raises ``ConfigError`` if a file of ``broker.tls`` cannot be used, and ``ConnectionLost``.
    """
    link = LinkSettings.of(settings)
    topology = topology_of(settings)
    api_answer = asyncio.create_task(asyncio.to_thread(_ask_api, settings))
    reached = await asyncio.gather(*(_reach(link, endpoint) for endpoint in link.endpoints))
    connections = [connection for _, connection in reached if connection is not None]
    facts = Facts(settings=settings, reached=[one for one, _ in reached])
    try:
        if connections:
            facts = await _by_amqp(facts, connections[0])
        api, problem = await api_answer
        # A connection that is blocked answers nothing more.
        usable = [] if facts.blocked else connections
        differences = await _differences(topology, api, usable)
        if probe_task is not None and usable:
            sent = await send_probe(usable[0], settings, probe_task, probe_timeout_s)
            facts = replace(facts, probe=sent)
        return replace(facts, api=api, api_problem=problem, differences=differences)
    finally:
        for connection in connections:
            await connection.close()


async def _reach(link: LinkSettings, endpoint: Endpoint) -> tuple[Reached, Connection | None]:
    started_s = time.monotonic()
    problem, refused, connection = None, False, None
    try:
        connection = await connect(
            endpoint,
            name="broker doctor",
            heartbeat_s=link.heartbeat_s,
            timeout_s=link.connect_timeout_s,
            tls=link.tls,
        )
    except BrokerError as error:
        problem, refused = str(error), isinstance(error, AccessRefused)
    return (
        Reached(
            where=endpoint.redacted,
            took_ms=round((time.monotonic() - started_s) * 1000),
            problem=problem,
            refused=refused,
            version=connection.server_version if connection else "",
        ),
        connection,
    )


async def _by_amqp(facts: Facts, connection: Connection) -> Facts:
    blocked = False

    def on_blocked(now: bool) -> None:
        nonlocal blocked
        blocked = now

    connection.on_blocked(on_blocked)
    inspected = {}
    channel = await connection.channel()
    for name in queue_names(facts.settings):
        try:
            inspected[name] = await channel.inspect_queue(name)
        except ConnectionLost:
            # Missing, or not for this user to see (RabbitMQ 4.3).
            channel = await connection.channel()
    await channel.close()
    read = await _readable(connection, [*facts.settings.queues, OBITUARIES], inspected)
    write = await _writable(connection)
    rights = None if blocked else Rights(write=write, read=read)
    return replace(facts, inspected=inspected, rights=rights, blocked=blocked)


async def _readable(
    connection: Connection, queues: Sequence[str], inspected: dict[str, tuple[int, int]]
) -> dict[str, bool | None]:
    rights: dict[str, bool | None] = {}
    for queue in queues:
        rights[queue] = None
        if inspected.get(queue, (1, 0))[0] == 0:
            channel = await connection.channel()
            rights[queue] = True
            try:
                await channel.get(queue)
            except ConnectionLost as error:
                rights[queue] = False if error.code == _ACCESS_REFUSED else None
            # Whatever came in that moment goes back to its place.
            await channel.close()
    return rights


async def _writable(connection: Connection) -> dict[str, bool | None]:
    exchanges = [TASKS, delay_level(LEVELS - 1), DEAD, REPLIES, ""]
    tried = await asyncio.gather(*(_may_write(connection, exchange) for exchange in exchanges))
    return {exchange or DEFAULT_EXCHANGE: may for exchange, may in zip(exchanges, tried, strict=True)}


async def _may_write(connection: Connection, exchange: str) -> bool | None:
    nowhere = Message(exchange=exchange, routing_key=f"doctor {new_id()}", body=b"", properties=Properties())
    try:
        # Once it has seen a publish, a broker under an alarm reads nothing more from this connection.
        async with asyncio.timeout(TRIAL_S):
            publisher = await Publisher.open(connection)
            await publisher.publish(nowhere)
            await publisher.channel.close()
    except MayNotPublish:
        return False
    except (ConfirmLost, NoExchange):
        return None
    except PublishError:
        return True
    except (TimeoutError, ConnectionLost):
        return None
    return True


async def _differences(
    topology: Topology, api: Api | None, connections: Sequence[Connection]
) -> list[Difference | str] | None:
    if api is not None:
        return [*compare(topology, api.exchanges, api.queues, api.bindings, api.policies)]
    if not connections:
        return None
    try:
        return [*await probe(connections[0], topology)]
    except ConnectionLost:
        # Only who may declare can compare by declaring.
        return None


def _ask_api(settings: Settings) -> tuple[Api | None, str]:
    """What the API tells, or why it does not. A user without the tag ``monitoring`` is not told of nodes."""
    management = Management.of(settings.broker, API_TIMEOUT_S)
    asked: dict[str, Callable[[], Any]] = {
        "overview": management.overview,
        "counts": management.counts,
        "exchanges": management.exchanges,
        "queues": management.queues,
        "bindings": management.bindings,
        "policies": management.policies,
        "consumers": management.consumers,
        "connections": management.connections,
    }
    try:
        user, clock = management.whoami()
        with ThreadPoolExecutor(len(asked) + 2) as pool:
            answers = {name: pool.submit(ask) for name, ask in asked.items()}
            nodes = pool.submit(_or_none, management.nodes)
            flags = pool.submit(_or_none, management.feature_flags)
            told = {name: answer.result() for name, answer in answers.items()}
    except (Unreachable, AccessRefused) as error:
        return None, str(error)
    return (
        Api(
            user=str(user.get("name")),
            tags=tags_of(user),
            clock=clock,
            nodes=nodes.result(),
            feature_flags=flags.result(),
            **told,
        ),
        "",
    )


def _or_none(ask: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    try:
        return ask()
    except (Unreachable, AccessRefused):
        return []
