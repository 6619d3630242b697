"""From one queue to another: the order of effects that loses no message, of a replay and of a move.

Publish → confirmed and not returned → ack. Killed between the last two, the message is still where it was and
will be sent again: a duplicate with the same id and the same ``replay``, of which there are never more than the
window of messages that were published and not acked yet.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Collection
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from functools import partial

from broker.amqp.answers import resolve
from broker.amqp.careful import CarefulPublisher
from broker.amqp.connection import Connection
from broker.amqp.publisher import REFUSALS, Message
from broker.dead_letters.filter import Chosen
from broker.dead_letters.queue import Held, Letter, held
from broker.dead_letters.spool import Spool
from broker.errors import ConfirmLost, PublishError, Refused, TooLarge, Unroutable, Unsendable
from protocol.codec import NotEncodable
from protocol.errors import ExitCode, Malformed, worst
from protocol.limits import LONGEST_EXPIRATION_MS
from protocol.names import TASKS, new_id
from protocol.properties import Properties
from protocol.task import Task, task_properties

#: Published and not acked yet: as many may be sent twice when the command is killed.
WINDOW = 100

#: What became of a message.
_End = asyncio.Future[PublishError | None]


def properties_of(task: Task, now_ms: int) -> Properties:
    """Properties of the first publish of a task that goes to a queue once more."""
    left_ms = task.expires_at - now_ms
    expires = task.expires_at > 0 and 0 < left_ms <= LONGEST_EXPIRATION_MS
    return task_properties(task, expiration_ms=left_ms if expires else None)


@dataclass(slots=True, kw_only=True)
class Report:
    """What became of the messages of one queue."""

    queue: str
    #: False: nothing of it is known.
    looked: bool = False
    #: Messages that were looked at, and those of them that were meant.
    messages: int = 0
    matching: int = 0
    sent: int = 0
    #: Why messages were left where they are, by code, with what was said of the first.
    left: Counter[str] = field(default_factory=Counter)
    texts: dict[str, str] = field(default_factory=dict)
    #: Routing keys that no queue is bound for.
    unroutable: Counter[str] = field(default_factory=Counter)
    #: What tasks went without.
    without: Counter[str] = field(default_factory=Counter)
    #: Messages beyond those that can be held at a time, and other consumers of the queue.
    unseen: int = 0
    others: int = 0

    @property
    def remaining(self) -> int:
        """Messages that were meant, and stay."""
        return self.matching - self.sent

    @property
    def exit_code(self) -> ExitCode:
        codes = [ExitCode.UNROUTABLE] * bool(self.unroutable) + [ExitCode.FAILED] * bool(self.left)
        return worst(codes)

    def leave(self, letter_id: str, code: str, text: str) -> None:
        self.left[code] += 1
        self.texts.setdefault(code, f"{text} (first: {letter_id or 'a letter without an id'})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """What is asked for. ``confirm_timeout_s`` is for each message, from when its turn to be acked has come."""

    chosen: Chosen
    #: The task of a message as it is to go on at this time (epoch milliseconds), and what it goes without. Raises
    #: ``Malformed`` and ``NotEncodable``: then the message stays.
    again: Callable[[Letter, int], tuple[Task, list[str]]]
    exchange: str = TASKS
    #: None: the name of each task.
    routing_key: str | None = None
    dry_run: bool = False
    #: For a dry run: the routing keys that a queue is bound for.
    bound: Collection[str] = ()
    window: int = WINDOW
    confirm_timeout_s: float = 30.0


async def transfer(connection: Connection, queue: str, asked: Transfer, report: Report) -> None:
    """Send messages of one queue on, in order, and count in ``report``, which is right also when this raises.

    Raises what ``held`` raises, ``ConfirmLost``, ``TopologyDrift`` and ``AccessRefused``: what was not acked by
    then is still in its queue.
    """
    with closing(Spool()) as spool:

        def see(letter: Letter) -> None:
            if not asked.chosen(letter):
                return
            report.matching += 1
            now_ms = time.time_ns() // 1_000_000
            try:
                task, without = asked.again(letter, now_ms)
            except Malformed as error:
                report.leave(letter.id, error.code, error.text)
            except NotEncodable as error:
                report.leave(letter.id, "not_encodable", str(error))
            else:
                key = task.name if asked.routing_key is None else asked.routing_key
                spool.put((letter.tag, without, key, task.body, asdict(properties_of(task, now_ms))))

        async with held(connection, queue, see) as looked:
            report.messages, report.unseen, report.others = looked.letters, looked.unseen, looked.others
            report.looked = True
            publisher = await CarefulPublisher.open(connection)
            if asked.dry_run:
                if spool.records:
                    await _try(publisher, asked)
                _foresee(spool, asked.bound, report)
            else:
                await _send(publisher, looked, spool, asked, report)


async def _try(publisher: CarefulPublisher, asked: Transfer) -> None:
    """Publish what no queue is bound for, which comes back. Raises what would end the first publish of a task."""
    nothing = Message(exchange=asked.exchange, routing_key=new_id(), body=b"", properties=Properties())
    with suppress(Unroutable):
        await _accepted(publisher, nothing, _publish(publisher, nothing), asked.confirm_timeout_s)


def _foresee(spool: Spool, bound: Collection[str], report: Report) -> None:
    for _, without, key, _, _ in spool:
        if key in bound:
            report.sent += 1
            report.without.update(without)
        else:
            report.unroutable[key] += 1


async def _send(publisher: CarefulPublisher, looked: Held, spool: Spool, asked: Transfer, report: Report) -> None:
    unconfirmed: deque[tuple[int, list[str], Message, _End]] = deque()

    async def settle() -> None:
        tag, without, message, end = unconfirmed.popleft()
        try:
            await _accepted(publisher, message, end, asked.confirm_timeout_s)
        except Unroutable:
            report.unroutable[message.routing_key] += 1
        except (Refused, Unsendable) as error:
            code = "too_large" if isinstance(error, TooLarge) else "refused"
            report.leave(message.properties.message_id or "", code, str(error))
        else:
            looked.ack(tag)
            report.sent += 1
            report.without.update(without)

    for tag, without, key, body, fields in spool:
        message = Message(exchange=asked.exchange, routing_key=key, body=body, properties=Properties(**fields))
        # On another channel it would overtake those before it, or those behind it would overtake it.
        is_beside = not publisher.is_proven(message)
        while len(unconfirmed) >= (1 if is_beside else asked.window):
            await settle()
        unconfirmed.append((tag, without, message, _publish(publisher, message)))
        if is_beside:
            await settle()
    while unconfirmed:
        await settle()


def _publish(publisher: CarefulPublisher, message: Message, *, alone: bool = False) -> _End:
    end: _End = asyncio.get_running_loop().create_future()
    publisher.send(message, partial(resolve, end), alone=alone)
    return end


async def _accepted(publisher: CarefulPublisher, message: Message, end: _End, timeout_s: float) -> None:
    """Wait for the end of what was published; publish it again, alone, if the broker refused it or a neighbour.

    Raises ``Unroutable``, ``Refused``, ``Unsendable``, and what ends a transfer.
    """
    try:
        async with asyncio.timeout(timeout_s):
            error = await end
            if isinstance(error, ConfirmLost) and error.code in REFUSALS and publisher.is_open:
                error = await _publish(publisher, message, alone=True)
    except TimeoutError:
        raise ConfirmLost(
            f"no confirm within {timeout_s:g} s. Check the broker's alarms, then run it again: what was not "
            "confirmed is still there."
        ) from None
    if error is not None:
        raise error
