"""A look at what waits: some messages are taken, and given back within a second.

The broker counts that as a return, and up to RabbitMQ 4.2 towards the delivery limit, whichever way they are taken
and given back (measured on 3.10, 4.0 and 4.3): a look brings a task nearer to being a suspect, and to its burial.
From 4.3 on what is given back by ``basic.nack`` counts towards no limit
(https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from broker.amqp.channel import Channel
from broker.amqp.connection import Connection
from broker.amqp.counting import count
from broker.config.holding import ASKS, suspect_from, version_of
from broker.dead_letters.queue import Letter, explained, letter_of
from broker.errors import BrokerError, ConnectionLost

#: As many looks make no task a suspect.
LOOKS = 10
#: What was not seen within this time is not waited for.
HOLD_S = 0.8
#: RabbitMQ's own delivery limit, from 4.0 on, of a queue that has none: then it drops a message.
DEFAULT_LIMIT = 20


class TooDear(BrokerError):
    """A look could do harm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a look costs on a version of RabbitMQ. ``near``: how often a message was returned at which a look ends
    with it; None: a look does not count."""

    text: str
    near: int | None


def price_of(queue: str, version: str, delivery_limit: int | None) -> Price:
    """``delivery_limit``: None if nothing is known of it. Raises ``TooDear``."""
    split = "A batch that was looked at is run as single tasks."
    if (version_of(version) or ASKS) >= ASKS:
        return Price(text=f"RabbitMQ {version} counts no look towards the delivery limit. {split}", near=None)
    most = suspect_from(delivery_limit) if delivery_limit else DEFAULT_LIMIT
    if most <= LOOKS:
        raise TooDear(
            f"{queue} is not looked at: RabbitMQ {version} counts a look as a return, and {most} of these make a "
            f"task a suspect. Set its delivery_limit to {2 * (LOOKS + 1)} or more; `rabbitmq-queues peek`, where "
            "the broker runs, looks without being counted."
        )
    harm = f"{most} make a task a suspect" if delivery_limit else f"after {most} it may be dropped"
    return Price(
        text=f"RabbitMQ {version} counts this look as a return of each message; {harm}. {split}", near=most - LOOKS
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was taken and is given back, and how many there are."""

    letters: list[Letter]
    ready: int


async def look(
    connection: Connection, queue: str, most: int, delivery_limit: int | None, say: Callable[[str], None]
) -> Seen:
    """The first messages of a queue, ``most`` at most, which are given back before this returns. ``say`` is called
    with the price of it before any is taken. All go back to their places, but behind those that a larger look has
    given back before.

    Raises ``TooDear``, ``MissingQueue``, ``AccessRefused``, ``NoMajority`` and ``ConnectionLost``.
    """
    price = price_of(queue, connection.server_version, delivery_limit)
    channel = await connection.channel()
    try:
        ready, _ = await count(channel, queue)
        say(price.text)
        return Seen(letters=await _take(channel, queue, min(most, ready), price.near), ready=ready)
    except ConnectionLost as error:
        raise explained(error, queue) from error
    finally:
        await channel.close()


async def _take(channel: Channel, queue: str, most: int, near: int | None) -> list[Letter]:
    """One after the other, so that none is taken behind one that came back often; given back in order."""
    letters: list[Letter] = []
    got = await channel.get(queue)
    with suppress(TimeoutError):
        async with asyncio.timeout(HOLD_S):
            while got is not None:
                letters.append(letter_of(queue, *got))
                if len(letters) == most or (near is not None and letters[-1].returned >= near):
                    break
                got = await channel.get(queue)
    for letter in letters:
        channel.nack(letter.tag)
    return letters
