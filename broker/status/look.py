"""Looks at an installation for ``python -m broker status``.

AMQP, the management API and the pages of this machine's workers are asked side by side.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

from broker.amqp.connection import Connection
from broker.amqp.counting import Count, count_all
from broker.amqp.once import connected
from broker.config.settings import Settings
from broker.errors import AccessRefused, BrokerError, ConnectionLost, NoStream, TimedOut, Unreachable
from broker.management import SEES_ALL, Management, tags_of
from broker.status.counts import counted, with_counts
from broker.status.summary import Listing, Status, queue_names, status_of
from protocol.properties import ReceivedProperties

#: A command waits no longer for the management API, and does without.
API_TIMEOUT_S = 3.0


def look(settings: Settings, timeout_s: float, *, oldest: bool = False) -> Status:
    """One look, which changes nothing; what is not known after ``timeout_s`` is unknown.

    Raises ``BrokerError`` if the broker cannot be asked by AMQP. ``oldest`` takes the first task of each work
    queue and gives it back: the broker counts that as a delivery.
    """
    return asyncio.run(_gather(settings, timeout_s, oldest=oldest))


async def _gather(settings: Settings, timeout_s: float, *, oldest: bool) -> Status:
    api = Management.of(settings.broker, min(API_TIMEOUT_S, timeout_s))
    pages = asyncio.create_task(counted(settings.worker.http))
    listed = asyncio.create_task(asyncio.to_thread(_listed, api))
    counts: dict[str, Count | None] = dict.fromkeys(queue_names(settings))
    ages: dict[str, float | None] = {}
    late: list[str] = []
    paused: list[str] | None = None

    async def ask(connection: Connection) -> None:
        nonlocal paused
        await count_all(connection, counts)
        if settings.control.enabled:
            # Nobody else has to load it.
            from broker.control.stream import paused_now

            try:
                paused = [*await paused_now(connection, settings.control, "broker status", timeout_s)]
            except (AccessRefused, NoStream) as error:
                late.append(f"{error} Whether a queue is paused is unknown.")
        if oldest:
            for name in settings.queues:
                if (counts.get(name) or (0, 0))[0]:
                    ages[name] = await _oldest_s(connection, name)

    try:
        await connected(settings, "broker status", ask, timeout_s=timeout_s)
    except TimedOut as error:
        late.append(str(error))
    except BrokerError:
        listed.cancel()
        pages.cancel()
        raise
    listing, notes = await listed
    status = status_of(settings, counts, listing, time.time(), [*late, *notes])
    work = tuple(replace(queue, oldest_s=ages.get(queue.name)) for queue in status.work)
    workers = with_counts(status.workers, await pages) if status.workers else status.workers
    pages.cancel()
    return replace(status, work=work, workers=workers, paused=None if paused is None else tuple(paused))


def _listed(api: Management) -> tuple[Listing | None, list[str]]:
    """What the API lists, and what is to be known of it."""
    asked: list[Callable[[], Any]] = [api.counts, api.consumers, api.connections, api.channels, api.whoami]
    try:
        with ThreadPoolExecutor(len(asked)) as pool:
            counts, consumers, connections, channels, (user, _) = [
                answer.result() for answer in [pool.submit(ask) for ask in asked]
            ]
    except (Unreachable, AccessRefused) as error:
        return None, [f"{error} Unacked tasks, rates and workers are unknown."]
    listing = Listing(counts=counts, consumers=consumers, connections=connections, channels=channels)
    notes = []
    if not tags_of(user) & SEES_ALL:
        notes.append(
            f"user {api.username} has not the tag `monitoring`: only workers with the same user are seen."
        )
    if counts and not any("messages_unacknowledged" in one for one in counts):
        notes.append("the broker has no numbers yet, or collects none (management.disable_stats).")
    return listing, notes


async def _oldest_s(connection: Connection, queue: str) -> float | None:
    channel = await connection.channel()
    with suppress(ConnectionLost):
        got = await channel.get(queue)
        # Closing gives it back to its place, the first.
        await channel.close()
        return None if got is None else _age_s(got[1])
    return None


def _age_s(properties: ReceivedProperties) -> float | None:
    headers = properties.headers
    sent_ms = headers.get("sent_at") if isinstance(headers, dict) else None
    if isinstance(sent_ms, bool) or not isinstance(sent_ms, int) or sent_ms <= 0:
        return None
    return max(0.0, time.time() - sent_ms / 1000)
