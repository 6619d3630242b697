"""Dead letters as they lie in their queues: holding them all for a look, and reading what one says.

A look that changes nothing has one shape on every RabbitMQ (measured on 3.10, 4.0 and 4.3): one consumer takes the
whole queue without an ack and its channel is closed. Letters come back in their order then, also when the
process is killed. A part of a queue that was looked at before comes back behind the rest (a quorum queue keeps
what was returned in a line of its own), and ``basic.get`` of more than nine letters comes back in no order. Only
the broker's counters of deliveries rise.
"""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from broker.amqp.answers import resolve
from broker.amqp.channel import Channel
from broker.amqp.connection import Connection
from broker.amqp.counting import count
from broker.amqp.handed_over import Delivered
from broker.amqp.pika_connection import BrokenProperties
from broker.config.settings import Settings
from broker.errors import ACCESS_REFUSED, NOT_FOUND, NOT_IMPLEMENTED, AccessRefused, BrokerError, ConnectionLost
from protocol.batch import read_batch
from protocol.dead_letter import Reason, reason_of
from protocol.errors import ExitCode, Malformed
from protocol.limits import Limits
from protocol.names import LOST, dead_queue, mailbox_of
from protocol.properties import ReceivedProperties, bad
from protocol.task import Task, read_task

#: Letters of one queue that can be held at a time: AMQP counts a prefetch in 16 bits.
MOST = 65_535
#: After this time without a letter the broker is asked whether there are any left.
QUIET_S = 1.0
#: After this time with letters left and none coming the look is given up.
STALLED_S = 30.0
_LATEST_MS = 10**13
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}(\.dead)?")


class MissingQueue(BrokerError):
    """There is no such queue of dead letters."""

    exit_code = ExitCode.UNROUTABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message in a queue of dead letters. Nothing in it is to be trusted: anyone may have written it."""

    #: Where it lies, and the tag by which it can be acked there.
    queue: str
    tag: int
    exchange: str
    routing_key: str
    properties: ReceivedProperties
    body: bytes
    redelivered: bool = False

    @property
    def headers(self) -> dict[str, Any]:
        headers = self.properties.headers
        return headers if isinstance(headers, dict) else {}

    @property
    def reason(self) -> Reason:
        return reason_of(self.exchange, self.routing_key, self.headers)

    @property
    def id(self) -> str:
        """The task's id as far as there is one; a reply that found no mailbox has it as ``correlation_id``."""
        return text_of(self.properties.message_id or self.properties.correlation_id)

    @property
    def task(self) -> str:
        return text_of(self.properties.type)

    @property
    def sent_ms(self) -> int:
        """When its task was sent, epoch milliseconds; 0 if it does not say."""
        sent = self.headers.get("sent_at")
        return sent if isinstance(sent, int) and 0 < sent <= _LATEST_MS else 0

    @property
    def returned(self) -> int:
        """How often the broker took it back and counted that. Believed only of what it marks as redelivered."""
        count = self.headers.get("x-delivery-count") if self.redelivered else None
        return count if isinstance(count, int) else 0

    @property
    def died_ms(self) -> int:
        """When it was buried, epoch milliseconds, by a worker or the broker; 0 if the letter does not say."""
        died = self.headers.get("died")
        if isinstance(died, int) and 0 < died <= _LATEST_MS:
            return died
        return max(map(_time_ms, _deaths(self.headers)), default=0)


def letter_of(queue: str, method: Delivered, properties: ReceivedProperties, body: bytes) -> Letter:
    """A message as it came."""
    return Letter(
        queue=queue,
        tag=method.delivery_tag,
        exchange=method.exchange,
        routing_key=method.routing_key,
        properties=properties,
        body=body,
        redelivered=method.redelivered,
    )


def _deaths(headers: dict[str, Any]) -> list[Any]:
    deaths = headers.get("x-death")
    return deaths if isinstance(deaths, list) else []


def _time_ms(death: object) -> int:
    time = death.get("time") if isinstance(death, dict) else None
    if not isinstance(time, datetime):
        return 0
    return round(time.replace(tzinfo=time.tzinfo or UTC).timestamp() * 1000)


def text_of(value: object) -> str:
    """A short string property as text, whatever came."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if isinstance(value, str) else ""


def read_letter(letter: Letter, limits: Limits, *, waits: bool = False) -> Task:
    """The task that died, held to the rules of any task but one: a reply address is kept only if it is a mailbox.

    A direct address died with the channel of its requester; not that of one that still ``waits`` for a worker.
    Raises ``Malformed``.
    """
    if isinstance(letter.properties, BrokenProperties):
        raise bad("the properties cannot be decoded")
    if waits:
        return read_task(letter.properties, letter.body, limits)
    readable = copy.copy(letter.properties)
    readable.reply_to = None
    reply_to = text_of(letter.properties.reply_to)
    kept = reply_to if mailbox_of(reply_to) is not None else None
    return replace(read_task(readable, letter.body, limits), reply_to=kept)


def ids_of(letter: Letter, limits: Limits) -> list[str]:
    """Its own id, and those of its tasks if it is a batch."""
    count = letter.headers.get("batch")
    try:
        tasks = read_batch(letter.body, count, limits) if isinstance(count, int) and count else []
    except Malformed:
        tasks = []
    return [letter.id, *(task_id for task_id, _ in tasks)]


def dead_queues(settings: Settings, names: Sequence[str]) -> list[str]:
    """The queues of dead letters that are meant by names of work queues, or by their own; by none: all of the
    configuration. Raises ``MissingQueue`` for what cannot be one."""
    for name in names:
        if name != LOST and not _NAME.fullmatch(name):
            raise MissingQueue(f"{name!r} cannot be a queue. Name one of {', '.join(settings.queues)} or {LOST}.")
    meant = names or (*settings.queues, LOST)
    return list(dict.fromkeys(_dead(name) for name in meant))


def _dead(name: str) -> str:
    return name if name == LOST or name.endswith(".dead") else dead_queue(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The letters of one queue, held unacked: nobody else gets them until the channel is closed."""

    channel: Channel
    #: Letters that were shown.
    letters: int
    #: Letters beyond ``MOST``, behind the ones that were shown.
    unseen: int
    #: Other consumers of the queue: what they hold was not seen.
    others: int
    #: Our own, if there is one.
    consumer: str | None = None

    def ack(self, tag: int) -> None:
        """Remove a letter. Raises ``ConnectionLost`` if the channel has ended: then the letter is still there."""
        if not self.channel.ack(tag):
            raise self.channel.closed.result()


@asynccontextmanager
async def held(connection: Connection, queue: str, see: Callable[[Letter], None]) -> AsyncIterator[Held]:
    """Hold all letters of a queue while the block runs; ``see`` is called with each, in order, before it begins.

    ``see`` must not keep bodies: no more than one letter is in memory at a time. What was not acked by the end
    of the block goes back to its place, which RabbitMQ counts as a failure before 4.3. Letters that arrive
    meanwhile are not shown, and stay behind the others.
    Raises ``MissingQueue``, ``AccessRefused``, ``NoMajority`` (before it has shown any), ``ConnectionLost``, and
    what ``see`` raised of ``OSError``.
    """
    channel = await connection.channel()
    try:
        try:
            looked = await _hold_all(channel, queue, see)
        except ConnectionLost as error:
            raise explained(error, queue) from error
        try:
            yield looked
        finally:
            if looked.consumer is not None and channel.is_open:
                with suppress(ConnectionLost):
                    await channel.cancel(looked.consumer)
                    channel.nack(0, multiple=True)
    finally:
        await channel.close()


async def _hold_all(channel: Channel, queue: str, see: Callable[[Letter], None]) -> Held:
    ready, others = await count(channel, queue)
    consumer = None
    wanted, seen = min(ready, MOST), 0
    all_seen: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()

    def on_delivery(method: Delivered, properties: ReceivedProperties, body: bytes) -> None:
        nonlocal seen
        if all_seen.done():
            return
        seen += 1
        try:
            see(letter_of(queue, method, properties, body))
        except OSError as error:
            resolve(all_seen, error)
        if seen == wanted:
            resolve(all_seen, None)

    if wanted:
        channel.on_cancel(lambda _tag: channel.end(ConnectionLost(f"{queue} was deleted", NOT_FOUND)))
        # Always the greatest prefetch: what arrives meanwhile is then held as well, and comes back behind them.
        consumer = await channel.consume(queue, on_delivery, prefetch=MOST)
        await _until_seen(channel, queue, all_seen, lambda: seen)
    return Held(channel=channel, letters=seen, unseen=ready - wanted, others=others, consumer=consumer)


async def _until_seen(
    channel: Channel, queue: str, all_seen: asyncio.Future[OSError | None], count: Callable[[], int]
) -> None:
    quiet_s, before = 0.0, -1
    ends: set[asyncio.Future[Any]] = {all_seen, channel.closed}
    while not (await asyncio.wait(ends, timeout=QUIET_S, return_when=asyncio.FIRST_COMPLETED))[0]:
        quiet_s, before = (quiet_s + QUIET_S if count() == before else 0.0), count()
        if quiet_s and not count():
            # A stream gives nothing from its beginning by itself, and refuses this.
            await channel.get(queue)
        ready, consumers = await channel.inspect_queue(queue) if quiet_s else (1, 1)
        if not ready and consumers:
            # Somebody else has taken the rest. (Without a leader it would know of no consumer, not of us either.)
            resolve(all_seen, None)
        elif quiet_s >= STALLED_S:
            raise ConnectionLost(f"{queue} has letters and gave none for {STALLED_S:g} s. Try again later.")
    if not all_seen.done():
        raise channel.closed.result()
    failure = all_seen.result()
    if failure is not None:
        raise failure


@asynccontextmanager
async def asked(connection: Connection, queue: str) -> AsyncIterator[Channel]:
    """A channel on which a queue is asked for; its end is explained."""
    channel = await connection.channel()
    try:
        yield channel
    except ConnectionLost as error:
        raise explained(error, queue) from error
    finally:
        await channel.close()


def explained(error: ConnectionLost, queue: str) -> BrokerError:
    """What the end of a channel says of the queue that was asked for."""
    if error.code == NOT_FOUND:
        return MissingQueue(f"queue {queue} does not exist. Check the name, or run `python -m broker declare`.")
    if error.code == ACCESS_REFUSED:
        return AccessRefused(f"this user may not read {queue}. It needs the right to read it.")
    if error.code == NOT_IMPLEMENTED:
        return MissingQueue(f"{queue} is a stream: what was read of it stays, and nothing waits there.")
    return error
