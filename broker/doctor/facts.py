"""Gathers what the doctor's checks judge: asks the broker by AMQP and the management API, side by side.

Nothing of it changes anything, but for a probe that was asked for. Rights to write are tried with messages that no
queue is bound for, which the broker returns; rights to read with empty queues alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from broker.amqp.connection import Connection, connect
from broker.amqp.counting import Count, count_all
from broker.amqp.link import LinkSettings
from broker.amqp.once import connected
from broker.amqp.publisher import Message, Publisher
from broker.config.endpoint import Endpoint
from broker.config.settings import Settings
from broker.doctor.check_access import DEFAULT_EXCHANGE
from broker.doctor.probe import send_probe
from broker.doctor.verdict import Api, Facts, Reached, Rights
from broker.errors import (
    ACCESS_REFUSED,
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

T = TypeVar("T")

API_TIMEOUT_S = 3.0
#: The part of the time that is left which one question may take.
_SHARE = 0.5
#: For the broker's word on a message that is tried; under an alarm there is none.
TRIAL_S = 1.5


async def gather(settings: Settings, probe_task: str | None, timeout_s: float) -> Facts:
    """Ask for everything at once, and send ``probe_task`` if one is named; what is not known after ``timeout_s``
    stays unknown. Raises ``ConfigError`` if a file of ``broker.tls`` cannot be used, and nothing else."""
    link, topology = LinkSettings.of(settings), topology_of(settings)
    until_s, is_late = time.monotonic() + timeout_s, False

    async def in_time(asked: Awaitable[T], share: float = _SHARE) -> T | None:
        nonlocal is_late
        try:
            async with asyncio.timeout(share * (until_s - time.monotonic())):
                return await asked
        except (TimeoutError, BrokerError):
            is_late = True
            return None

    api_answer = asyncio.create_task(asyncio.to_thread(_ask_api, settings, min(API_TIMEOUT_S, timeout_s / 3)))
    reached = await asyncio.gather(*(_reach(link, one, timeout_s * _SHARE) for one in link.endpoints))
    connections = [connection for _, connection in reached if connection is not None]
    for connection in connections:
        connection.deadline_s = until_s
    facts = Facts(settings=settings, reached=[one for one, _ in reached])
    try:
        if connections:
            counts: dict[str, Count | None] = dict.fromkeys(queue_names(settings))
            # On a connection of its own, which a queue without a leader ends.
            count = connected(
                settings,
                "broker doctor",
                lambda connection: count_all(connection, counts),
                timeout_s=_SHARE * (until_s - time.monotonic()),
            )
            await in_time(count, 1.0)
            known = {name: found for name, found in counts.items() if found is not None}
            silent = [name for name in counts if is_late and name not in known]
            facts = replace(facts, inspected=known, silent=silent)
            may_be_empty = {name: found or (0, 0) for name, found in counts.items() if name not in silent}
            facts = await in_time(_by_amqp(facts, connections[0], may_be_empty)) or facts
        api, problem = await api_answer
        # A connection that is blocked answers nothing more.
        usable = [] if facts.blocked else connections
        differences = await in_time(_differences(topology, api, usable))
        if probe_task is not None and usable:
            left_s = 0.8 * (until_s - time.monotonic())
            sent = await in_time(send_probe(usable[0], settings, probe_task, left_s), 1.0)
            facts = replace(facts, probe=sent)
        return replace(facts, api=api, api_problem=problem, differences=differences, is_late=is_late)
    finally:
        await asyncio.gather(*(connection.close() for connection in connections))


async def _reach(link: LinkSettings, endpoint: Endpoint, within_s: float) -> tuple[Reached, Connection | None]:
    started_s = time.monotonic()
    problem, refused, connection = None, False, None
    try:
        connection = await connect(
            endpoint,
            name="broker doctor",
            heartbeat_s=link.heartbeat_s,
            timeout_s=min(link.connect_timeout_s, within_s),
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


async def _by_amqp(facts: Facts, connection: Connection, inspected: Mapping[str, Count]) -> Facts:
    blocked = False

    def on_blocked(now: bool) -> None:
        nonlocal blocked
        blocked = now

    connection.on_blocked(on_blocked)
    read = await _readable(connection, [*facts.settings.queues, OBITUARIES], inspected)
    write = await _writable(connection)
    rights = None if blocked else Rights(write=write, read=read)
    return replace(facts, rights=rights, blocked=blocked)


async def _readable(
    connection: Connection, queues: Sequence[str], inspected: Mapping[str, Count]
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
                rights[queue] = False if error.code == ACCESS_REFUSED else None
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


def _ask_api(settings: Settings, within_s: float) -> tuple[Api | None, str]:
    """What the API tells, or why it does not. A user without the tag ``monitoring`` is not told of nodes."""
    management = Management.of(settings.broker, within_s)
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
