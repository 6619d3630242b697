"""Gathers what the doctor's checks judge: asks the broker by AMQP and the management API, side by side.

Nothing of it changes anything, but for a probe that was asked for. Rights to write are tried with messages that no
queue is bound for; rights to read with empty queues alone.
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
from broker.config.endpoint import Endpoint
from broker.config.settings import Settings
from broker.doctor.probe import send_probe
from broker.doctor.trials import largest_taken, readable, writable
from broker.doctor.verdict import Api, Facts, Reached, Rights
from broker.errors import AccessRefused, BrokerError, ConnectionLost, NoStream, Unreachable
from broker.management import Management, tags_of
from broker.node.files import HAND_ON_AGAIN_MS
from broker.node.state import detached_management_url
from broker.status.summary import queue_names
from broker.status.workers import Listed, whole
from broker.topology.declare import probe
from broker.topology.diff import Difference, compare
from broker.topology.model import Topology, topology_of
from protocol.names import OBITUARIES

T = TypeVar("T")

API_TIMEOUT_S = 3.0
#: The part of the time that is left which one question may take.
_SHARE = 0.5
#: Between two looks at messages that are being dead-lettered: queues report them every 5 s.
AGAIN_S = 6.0


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
            if settings.control.enabled and not facts.blocked:
                facts = await in_time(_by_control(facts, connections[0], until_s)) or facts
        api, problem = await api_answer
        again = asyncio.create_task(_stuck(settings, topology, api, until_s))
        # A connection that is blocked answers nothing more.
        usable = [] if facts.blocked else connections
        differences = await in_time(_differences(topology, api, usable))
        if probe_task is not None and usable:
            left_s = 0.8 * (until_s - time.monotonic())
            sent = await in_time(send_probe(usable[0], settings, probe_task, left_s), 1.0)
            facts = replace(facts, probe=sent)
        known_node = detached_management_url(settings.broker.endpoints[0]) is not None
        return replace(
            facts,
            api=api,
            api_problem=problem,
            differences=differences,
            stuck=await again,
            resends_after_s=HAND_ON_AGAIN_MS / 1000 if known_node else None,
            is_late=is_late,
        )
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
    read = await readable(connection, [*facts.settings.queues, OBITUARIES], inspected)
    write = await writable(connection)
    if blocked:
        return replace(facts, blocked=True)
    size = facts.settings.limits.messages.for_reply.body_bytes
    takes = await largest_taken(connection, write, size)
    return replace(facts, rights=Rights(write=write, read=read), takes_largest=takes, blocked=blocked)


async def _by_control(facts: Facts, connection: Connection, until_s: float) -> Facts:
    from broker.control.stream import paused_now

    try:
        paused = await paused_now(connection, facts.settings.control, "broker doctor", until_s - time.monotonic())
    except (AccessRefused, NoStream) as error:
        return replace(facts, control_problem=str(error))
    return replace(facts, paused={queue: record.by for queue, record in paused.items()})


async def _differences(
    topology: Topology, api: Api | None, connections: Sequence[Connection]
) -> list[Difference | str] | None:
    if api is not None:
        return [*compare(topology, api.exchanges, api.queues, api.bindings, api.policies)]
    if not connections:
        return None
    try:
        return [*await probe(connections[0], topology)]
    except (ConnectionLost, AccessRefused):
        # Only who may declare can compare by declaring.
        return None


async def _stuck(
    settings: Settings, topology: Topology, api: Api | None, until_s: float
) -> Mapping[str, int] | None:
    """See ``Facts.stuck``. Looks again only if messages are being dead-lettered now."""
    first = _dead_lettered(topology, api.counts if api else ())
    if not first:
        return None if api is None else {}
    if until_s - time.monotonic() < AGAIN_S + 1:
        return None
    await asyncio.sleep(AGAIN_S)
    management = Management.of(settings.broker, min(API_TIMEOUT_S, until_s - time.monotonic()))
    try:
        second = _dead_lettered(topology, await asyncio.to_thread(management.counts))
    except (Unreachable, AccessRefused):
        return None
    return {name: second[name] for name, count in first.items() if second.get(name, 0) >= count}


def _dead_lettered(topology: Topology, counts: Sequence[Listed]) -> dict[str, int]:
    """Of our queues: messages that left it and that no next queue has confirmed yet."""
    ours = {queue.name for queue in topology.queues}
    listed = {str(one.get("name")): whole(one.get("messages_dlx")) for one in counts}
    return {name: count for name, count in listed.items() if count and name in ours}


def _ask_api(settings: Settings, within_s: float) -> tuple[Api | None, str]:
    """What the API says, or why it does not. A user without the tag ``monitoring`` sees no nodes."""
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
            listed = {name: answer.result() for name, answer in answers.items()}
    except (Unreachable, AccessRefused) as error:
        return None, str(error)
    return (
        Api(
            user=str(user.get("name")),
            tags=tags_of(user),
            clock=clock,
            nodes=nodes.result(),
            feature_flags=flags.result(),
            **listed,
        ),
        "",
    )


def _or_none(ask: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    try:
        return ask()
    except (Unreachable, AccessRefused):
        return []
