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

from broker.amqp.answers import resolve
from broker.amqp.channel import Channel
from broker.amqp.connection import Connection
from broker.amqp.counting import count
from broker.amqp.handed_over import Delivered
from broker.config.holding import ASKS, suspect_from, version_of
from broker.dead_letters.queue import Letter, asked, letter_of
from broker.errors import BrokerError
from broker.topology.model import UNLIMITED
from protocol.properties import ReceivedProperties

#: As many looks make no task a suspect.
LOOKS = 10
#: What was not seen within this time is not waited for.
HOLD_S = 0.8
ONE_BY_ONE = 10
#: RabbitMQ's own delivery limit, from 4.0 on, of a queue that has none: then it drops a message.
DEFAULT_LIMIT = 20


class TooDear(BrokerError):
    """A look could do harm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a look costs on a version of RabbitMQ. ``near``: a message that was returned as often ends the look, so
    that those behind it are spared; None: none does."""

    text: str
    near: int | None


def price_of(queue: str, version: str, delivery_limit: int | None) -> Price:
    """``delivery_limit``: None if nothing is known of it. Raises ``TooDear``."""
    split = "A batch that was looked at is run as single tasks."
    if delivery_limit == UNLIMITED or (version_of(version) or ASKS) >= ASKS:
        return Price(
            text=f"a look at {queue} counts towards no delivery limit (RabbitMQ {version}). {split}", near=None
        )
    most = suspect_from(delivery_limit) if delivery_limit else DEFAULT_LIMIT
    if most <= LOOKS:
        raise TooDear(
            f"{queue} is not looked at: RabbitMQ {version} counts a look as a return, and {most} of these make a "
            f"task a suspect. Set its delivery_limit to {2 * (LOOKS + 1)} or more; `rabbitmq-queues peek`, where "
            "the broker runs, looks without being counted."
        )
    harm = f"{most} make a task a suspect" if delivery_limit else f"after {most} it may be dropped"
    return Price(
        text=f"RabbitMQ {version} counts this look as a return of each message; {harm}. {split}",
        near=max(most - LOOKS, most // 2),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was taken and is given back, and what is to be said of what was not."""

    letters: list[Letter]
    unseen: str


async def look(
    connection: Connection, queue: str, most: int, delivery_limit: int | None, say: Callable[[str], None]
) -> Seen:
    """The first messages of a queue, ``most`` at most, which are given back before this returns. ``say`` is called
    with the price of it before any is taken. All go back to their places, but behind those that a larger look has
    given back before.

    Raises ``TooDear``, ``MissingQueue``, ``AccessRefused``, ``NoMajority`` and ``ConnectionLost``.
    """
    price = price_of(queue, connection.server_version, delivery_limit)
    async with asked(connection, queue) as channel:
        ready, _ = await count(channel, queue)
        say(price.text)
        letters = await _take(channel, queue, min(most, ready), price.near)
    return Seen(letters=letters, unseen=_unseen(letters, most, ready, price.near))


def _unseen(letters: list[Letter], most: int, ready: int, near: int | None) -> str:
    left = ready - len(letters)
    if not letters:
        return "no messages"
    if len(letters) == most or left <= 0:
        return f"{left} more: raise -n" if left > 0 else ""
    if near is not None and (returned := letters[-1].returned) >= near:
        return f"{left} more are not looked at, since the last one was returned {returned} times before"
    return f"{left} more did not come within {HOLD_S} s"


async def _take(channel: Channel, queue: str, most: int, near: int | None) -> list[Letter]:
    """Given back in order. The first are fetched one by one: none is taken behind one that came back often."""
    letters: list[Letter] = []
    tag, all_seen = "", asyncio.get_running_loop().create_future()

    def on_delivery(method: Delivered, properties: ReceivedProperties, body: bytes) -> None:
        letters.append(letter_of(queue, method, properties, body))
        if len(letters) == most:
            resolve(all_seen, None)

    got = await channel.get(queue)
    with suppress(TimeoutError):
        async with asyncio.timeout(HOLD_S):
            while got is not None:
                on_delivery(*got)
                if all_seen.done() or (near is not None and letters[-1].returned >= near):
                    break
                if len(letters) == ONE_BY_ONE:
                    tag = await channel.consume(queue, on_delivery, prefetch=most - ONE_BY_ONE)
                    await asyncio.wait({all_seen, channel.closed}, return_when=asyncio.FIRST_COMPLETED)
                    break
                got = await channel.get(queue)
    if tag:
        await channel.cancel(tag)
    for letter in letters[:ONE_BY_ONE]:
        channel.nack(letter.tag)
    channel.nack(0, multiple=True)
    return letters
