"""What a command does with one connection, by the command's deadline.

A broker that is starting and a queue without a leader are tried again until then; whatever else the broker does,
or does not do, the command ends.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from broker.amqp.connection import Connection, connect
from broker.amqp.link import LinkSettings, between_attempts
from broker.amqp.pika_errors import silent
from broker.config.settings import Settings
from broker.errors import BrokerError, ConnectionLost, NoMajority, Starting, TimedOut, Unreachable

T = TypeVar("T")

#: How long after the deadline what does not wait for an answer is ended.
_SPARE_S = 0.1
#: A look, after that, at what the broker is like.
_LOOK_S = 0.5


async def connected(
    settings: Settings,
    name: str,
    work: Callable[[Connection], Awaitable[T]],
    *,
    timeout_s: float,
    waits: bool = False,
) -> T:
    """What ``work`` returns of an open connection. It is called again after ``NoMajority``, so it may raise that
    only while nothing is done that must not be done twice. ``waits``: for a broker that cannot be reached, too.

    Raises what ``work`` does; ``Unreachable`` or ``AccessRefused`` if no connection was open, at the latest after
    ``timeout_s``; ``TimedOut`` if one was and the work was not done by then.
    """
    until_s = time.monotonic() + timeout_s
    trouble: BrokerError | None = silent(", ".join(one.redacted for one in settings.broker.endpoints))

    async def again() -> T:
        nonlocal trouble
        backoff = between_attempts()
        while True:
            try:
                async with opened(settings, name, until_s) as connection:
                    trouble = None
                    return await work(connection)
            except BrokerError as error:
                trouble = error
                if not (isinstance(error, Starting | NoMajority) or (waits and type(error) is Unreachable)):
                    raise
            await asyncio.sleep(backoff.next_s())

    try:
        async with asyncio.timeout(timeout_s + _SPARE_S):
            return await again()
    except (TimeoutError, ConnectionLost) as error:
        if time.monotonic() < until_s - _SPARE_S:
            raise
        if isinstance(trouble, Unreachable):
            raise trouble from error
        why = f"{trouble}" if isinstance(trouble, NoMajority) else await _state_of(settings, name)
        raise TimedOut(f"not done within {timeout_s:g} s: {why}") from error


@asynccontextmanager
async def opened(settings: Settings, name: str, until_s: float) -> AsyncIterator[Connection]:
    """A connection whose answers have to be there by then, by the clock ``time.monotonic``."""
    connection = await open_once(settings, name, until_s - time.monotonic())
    connection.deadline_s = until_s
    try:
        yield connection
    finally:
        await connection.close()


async def open_once(settings: Settings, name: str, within_s: float) -> Connection:
    """The first endpoint that answers. Raises what the last one said, or one that may soon answer."""
    link, until_s = LinkSettings.of(settings), time.monotonic() + within_s
    errors: list[BrokerError] = []
    for left, endpoint in reversed([*enumerate(random.sample(link.endpoints, len(link.endpoints)), 1)]):
        # None takes the time of those that come after it.
        bound_s = max(0.1, until_s - time.monotonic()) / left
        try:
            return await connect(
                endpoint,
                name=name,
                heartbeat_s=link.heartbeat_s,
                timeout_s=min(link.connect_timeout_s, bound_s),
                tls=link.tls,
            )
        except BrokerError as error:
            errors.append(error)
    raise next((error for error in errors if isinstance(error, Starting)), errors[-1])


async def _state_of(settings: Settings, name: str) -> str:
    """What a broker is like that took a connection and did not do what it was asked."""
    try:
        await (await open_once(settings, name, _LOOK_S)).close(0.0)
    except BrokerError:
        return "the broker took the connection and fell silent: it hangs, or the network does."
    return (
        "the broker takes connections, and did not answer this: it is overloaded, or a queue has no leader, or "
        "its cluster no majority of its nodes. See `python -m broker doctor`."
    )
