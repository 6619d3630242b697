"""Looks at an installation for ``python -m broker status``.

AMQP, the management API and the pages of this machine's workers are asked side by side.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

from broker.amqp.connection import Connection
from broker.config.settings import Settings
from broker.errors import AccessRefused, BrokerError, ConnectionLost, Unreachable
from broker.management import SEES_ALL, Management, tags_of
from broker.status.counts import counted, with_counts
from broker.status.summary import Listing, Status, queue_names, status_of
from broker.topology.apply import open_once

#: A command waits no longer for the management API, and does without.
API_TIMEOUT_S = 3.0


def look(settings: Settings, *, oldest: bool = False) -> Status:
    """One look, which changes nothing. Raises ``BrokerError`` if the broker cannot be asked by AMQP.

    ``oldest`` takes the first task of each work queue and gives it back: the broker counts that as a delivery.
    """
    return asyncio.run(_look(settings, oldest=oldest))


async def _look(settings: Settings, *, oldest: bool) -> Status:
    pages = asyncio.create_task(counted(settings.worker.http))
    listed = asyncio.create_task(asyncio.to_thread(_listed, Management.of(settings.broker, API_TIMEOUT_S)))
    try:
        connection = await open_once(settings, "broker status")
    except BrokerError:
        listed.cancel()
        pages.cancel()
        raise
    try:
        inspected = {name: found async for name, found in _inspected(connection, settings)}
        listing, notes = await listed
        status = status_of(settings, inspected, listing, time.time(), notes)
        if status.workers:
            status = replace(status, workers=with_counts(status.workers, await pages))
        return await _looked(connection, status) if oldest else status
    finally:
        pages.cancel()
        await connection.close()


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


async def _inspected(connection: Connection, settings: Settings) -> AsyncIterator[tuple[str, tuple[int, int]]]:
    channel = await connection.channel()
    for name in queue_names(settings):
        try:
            yield name, await channel.inspect_queue(name)
        except ConnectionLost as error:
            # Missing, or not for this user to see (RabbitMQ 4.3): either closes the channel.
            if not connection.is_open or not error.code:
                raise
            channel = await connection.channel()
    await channel.close()


async def _looked(connection: Connection, status: Status) -> Status:
    work = [
        replace(queue, oldest_s=await _oldest_s(connection, queue.name)) if queue.ready else queue
        for queue in status.work
    ]
    return replace(status, work=tuple(work))


async def _oldest_s(connection: Connection, queue: str) -> float | None:
    channel = await connection.channel()
    with suppress(ConnectionLost):
        got = await channel.get(queue)
        # Closing gives it back to its place, the first.
        await channel.close()
        return None if got is None else _age_s(got[1])
    return None


def _age_s(properties: Any) -> float | None:
    headers = properties.headers
    sent_ms = headers.get("sent_at") if isinstance(headers, dict) else None
    if isinstance(sent_ms, bool) or not isinstance(sent_ms, int) or sent_ms <= 0:
        return None
    return max(0.0, time.time() - sent_ms / 1000)
