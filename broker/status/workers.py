"""The workers of an installation, from what the management API lists. Pure.

A worker has two connections, whose names say host, process and role, and a consumer on each of its queues. Nothing
of that is checked by the broker: it is the client's word.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from protocol.names import OBITUARIES

_WORKER = re.compile(r"worker-(?P<host>.+)-(?P<pid>\d{1,10}) (?P<role>consume|publish)", re.DOTALL)
_STEERED = re.compile(r"worker-(?P<host>.+)-(?P<pid>\d{1,10}) control", re.DOTALL)
#: Of a worker with one of its two connections.
HALF = "half"

Listed = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """One worker, from the names of its two connections and from its consumers. All of it is the worker's word."""

    host: str
    pid: int
    queues: tuple[str, ...]
    #: Tasks that it may hold now, and how many of them it runs at a time.
    prefetch: int | None
    concurrency: int | None
    #: Deliveries that it holds: those that it runs, and those that wait in it.
    unacked: int | None
    #: Since its start; known only of workers on this machine, see ``broker.status.counts``.
    done: int | None = None
    retried: int | None = None
    failed: int | None = None
    #: Circuit breakers that are not closed, and their states; known of the same workers.
    breakers: Mapping[str, str] = field(default_factory=dict)
    #: Since its process started, by its own clock; and since the older of its connections, by the broker's.
    up_s: float | None
    connected_s: float | None = None
    user: str
    platform: str
    #: ``running``, ``blocked``, ``flow``…; ``half`` if one of its two connections is missing.
    state: str


def table(listed: Listed, key: str) -> Listed:
    """What stands under a key, if it is a table."""
    found = listed.get(key)
    return found if isinstance(found, Mapping) else {}


def whole(value: object) -> int | None:
    """A whole number, or None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def steered(connections: Iterable[Listed]) -> set[str]:
    """Host and process of each worker that has a connection for the control stream."""
    names = [str(table(one, "client_properties").get("connection_name", "")) for one in connections]
    return {f"{named['host']}:{named['pid']}" for name in names if (named := _STEERED.fullmatch(name))}


def workers_of(
    consumers: Iterable[Listed],
    connections: Iterable[Listed],
    channels: Iterable[Listed],
    now_s: float,
) -> tuple[WorkerStatus, ...]:
    """A worker is a pair of connections whose names say so; what it consumes hangs on one of them."""
    pairs: dict[tuple[str, int], dict[str, Listed]] = defaultdict(dict)
    for connection in connections:
        named = _WORKER.fullmatch(str(table(connection, "client_properties").get("connection_name", "")))
        if named:
            pairs[named["host"], int(named["pid"])][named["role"]] = connection
    by_connection: dict[str, list[Listed]] = defaultdict(list)
    for consumer in consumers:
        by_connection[str(table(consumer, "channel_details").get("connection_name"))].append(consumer)
    unacked: dict[str, int | None] = {}
    for channel in channels:
        name = str(table(channel, "connection_details").get("name"))
        held = whole(channel.get("messages_unacknowledged"))
        unacked[name] = held if unacked.get(name) is None else (unacked[name] or 0) + (held or 0)
    return tuple(_worker(key, pair, by_connection, unacked, now_s) for key, pair in sorted(pairs.items()))


def _worker(
    key: tuple[str, int],
    pair: Mapping[str, Listed],
    by_connection: Mapping[str, Sequence[Listed]],
    unacked: Mapping[str, int | None],
    now_s: float,
) -> WorkerStatus:
    consume = pair.get("consume", {})
    name = str(consume.get("name"))
    prefetches: dict[str, int] = defaultdict(int)
    for consumer in by_connection.get(name, ()):
        # Of one queue it has several for a while.
        prefetches[str(table(consumer, "queue").get("name"))] += whole(consumer.get("prefetch_count")) or 0
    prefetches.pop(OBITUARIES, None)
    either = consume or next(iter(pair.values()))
    properties = table(either, "client_properties")
    started_s = whole(properties.get("started"))
    connected = [at for one in pair.values() if (at := whole(one.get("connected_at"))) is not None]
    states = {str(one.get("state", "")) for one in pair.values()}
    return WorkerStatus(
        host=key[0],
        pid=key[1],
        queues=tuple(prefetches),
        prefetch=sum(prefetches.values()) if prefetches else None,
        concurrency=whole(properties.get("concurrency")),
        unacked=unacked.get(name),
        up_s=None if started_s is None else max(0.0, now_s - started_s),
        connected_s=max(0.0, now_s - min(connected) / 1000) if connected else None,
        user=str(either.get("user", "")),
        platform=str(properties.get("platform", "")),
        state=HALF if len(pair) == 1 else next((one for one in sorted(states) if one != "running"), "running"),
    )
