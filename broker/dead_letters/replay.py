"""Putting dead letters back to work: what a replayed task is, and the order of effects that loses none.

Publish to ``tasks`` → confirmed and not returned → ack the letter. Killed between the last two, the letter is
still there and will be replayed again: a duplicate with the same id and the same ``replay``, of which there are
never more than the window of letters that were published and not acked yet.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from broker.amqp.answers import resolve
from broker.amqp.careful import CarefulPublisher
from broker.amqp.connection import Connection
from broker.amqp.publisher import REFUSALS, Message
from broker.console.arguments import pairs_of, read_json
from broker.dead_letters.filter import Chosen
from broker.dead_letters.queue import Held, Letter, held, read_letter
from broker.dead_letters.spool import Spool
from broker.errors import ConfirmLost, PublishError, Refused, TooLarge, Unroutable, Unsendable
from protocol.codec import NotEncodable, decode_arguments, encode
from protocol.dead_letter import Reason
from protocol.errors import ExitCode, Malformed, worst
from protocol.limits import LONGEST_EXPIRATION_MS, Limits
from protocol.names import DEAD, TASKS, new_id
from protocol.properties import Properties, bad
from protocol.task import Attempt, Task, task_properties

#: Published and not acked yet: as many may be replayed twice when the command is killed.
WINDOW = 100

#: What became of a message.
_End = asyncio.Future[PublishError | None]

NO_REPLY = "reply: its address was no mailbox, and died with the requester's connection"
NO_EXPIRY = "expiry: it had passed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Other arguments: ``instead`` of all of a letter's, then single ones ``changed`` or added."""

    instead: Mapping[str, Any] | None = None
    changed: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.instead is not None or bool(self.changed)


def edit_of(pairs: Sequence[str], text: str | None, limits: Limits) -> Edit:
    """An edit from ``--edit KEY=VALUE`` (a VALUE that is JSON is read as such) and ``--edit-json OBJECT``.

    Raises ``ValueError``.
    """
    instead, changed = None if text is None else _object(text), pairs_of(pairs, "--edit")
    try:
        encode({**(instead or {}), **changed}, limits, "arguments")
    except NotEncodable as error:
        raise ValueError(str(error)) from error
    return Edit(instead=instead, changed=changed)


def _object(text: str) -> dict[str, Any]:
    try:
        value = read_json(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError('--edit-json must be an object, like {"n": 1}.')
    return value


def replayed(letter: Letter, limits: Limits, now_ms: int, edit: Edit) -> tuple[Task, list[str]]:
    """The task as it is to run again, and what it goes without. Raises ``Malformed`` and ``NotEncodable``.

    Attempts start at 1 and ``replay`` rises by 1, so that no worker takes it for one that it has finished. Id,
    arguments, mailbox and history stay; a death that is not in the history yet is added to it.
    """
    task = read_letter(letter, limits)
    without = [NO_REPLY] if letter.properties.reply_to and task.reply_to is None else []
    if task.expires_at and task.expires_at <= now_ms:
        task = replace(task, expires_at=0)
        without.append(NO_EXPIRY)
    if letter.exchange != DEAD or not task.history:
        task = replace(task, history=task.history_with(_death(task, letter.reason, letter.died_ms), limits))
    if edit:
        task = replace(task, body=_edited(task, limits, edit))
    return replace(task, attempt=1, replay=task.replay + 1, replayed_at=now_ms, resent=0), without


def _death(task: Task, verdict: Reason, died_ms: int) -> Attempt:
    return Attempt(
        attempt=task.attempt, error=verdict.code, text=verdict.text, worker="", started_ms=died_ms, ran_ms=0
    )


def _edited(task: Task, limits: Limits, edit: Edit) -> bytes:
    if task.batch:
        raise bad("a batch has the arguments of many tasks: it cannot be edited")
    arguments = decode_arguments(task.body, limits) if edit.instead is None else edit.instead
    return encode({**arguments, **edit.changed}, limits, "arguments")


def properties_of(task: Task, now_ms: int) -> Properties:
    """Properties of the first publish of a replayed task."""
    left_ms = task.expires_at - now_ms
    expires = task.expires_at > 0 and 0 < left_ms <= LONGEST_EXPIRATION_MS
    return task_properties(task, expiration_ms=left_ms if expires else None)


@dataclass(slots=True, kw_only=True)
class Report:
    """What became of the letters of one queue."""

    queue: str
    #: False: nothing of it is known.
    looked: bool = False
    #: Letters that were looked at, and those of them that were meant.
    letters: int = 0
    matching: int = 0
    replayed: int = 0
    #: Why letters were left where they are, by code, with what was said of the first.
    left: Counter[str] = field(default_factory=Counter)
    texts: dict[str, str] = field(default_factory=dict)
    #: Task names that no queue is bound for.
    unroutable: Counter[str] = field(default_factory=Counter)
    #: What replayed tasks went without.
    without: Counter[str] = field(default_factory=Counter)
    #: Letters beyond those that can be held at a time, and other consumers of the queue.
    unseen: int = 0
    others: int = 0

    @property
    def remaining(self) -> int:
        """Letters that were meant, and stay."""
        return self.matching - self.replayed

    @property
    def exit_code(self) -> ExitCode:
        codes = [ExitCode.UNROUTABLE] * bool(self.unroutable) + [ExitCode.FAILED] * bool(self.left)
        return worst(codes)

    def leave(self, letter_id: str, code: str, text: str) -> None:
        self.left[code] += 1
        self.texts.setdefault(code, f"{text} (first: {letter_id or 'a letter without an id'})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What is asked for. ``confirm_timeout_s`` is for each letter, from when its turn to be acked has come."""

    chosen: Chosen
    edit: Edit
    dry_run: bool = False
    #: For a dry run: the tasks that a queue is bound for.
    bound: Collection[str] = ()
    window: int = WINDOW
    confirm_timeout_s: float = 30.0


async def replay(connection: Connection, queue: str, asked: Replay, report: Report) -> None:
    """Replay letters of one queue and count in ``report``, which is right also when this raises.

    Raises what ``held`` raises, ``ConfirmLost``, ``TopologyDrift`` and ``AccessRefused``: what was not acked by
    then is still among the dead letters.
    """
    with closing(Spool()) as spool:

        def see(letter: Letter) -> None:
            if not asked.chosen(letter):
                return
            report.matching += 1
            now_ms = time.time_ns() // 1_000_000
            try:
                task, without = replayed(letter, asked.chosen.limits, now_ms, asked.edit)
            except Malformed as error:
                report.leave(letter.id, error.code, error.text)
            except NotEncodable as error:
                report.leave(letter.id, "not_encodable", str(error))
            else:
                spool.put((letter.tag, without, task.body, asdict(properties_of(task, now_ms))))

        async with held(connection, queue, see) as looked:
            report.letters, report.unseen, report.others = looked.letters, looked.unseen, looked.others
            report.looked = True
            publisher = await CarefulPublisher.open(connection)
            if asked.dry_run:
                if spool.records:
                    await _try(publisher, asked.confirm_timeout_s)
                _foresee(spool, asked.bound, report)
            else:
                await _send(publisher, looked, spool, asked, report)


async def _try(publisher: CarefulPublisher, timeout_s: float) -> None:
    """Publish what no queue is bound for, which comes back. Raises what would end the first publish of a task."""
    nothing = Message(exchange=TASKS, routing_key=new_id(), body=b"", properties=Properties())
    with suppress(Unroutable):
        await _accepted(publisher, nothing, _publish(publisher, nothing), timeout_s)


def _foresee(spool: Spool, bound: Collection[str], report: Report) -> None:
    for _, without, _, fields in spool:
        if fields["type"] in bound:
            report.replayed += 1
            report.without.update(without)
        else:
            report.unroutable[fields["type"]] += 1


async def _send(publisher: CarefulPublisher, looked: Held, spool: Spool, asked: Replay, report: Report) -> None:
    under_way: deque[tuple[int, list[str], Message, _End]] = deque()

    async def settle() -> None:
        tag, without, message, end = under_way.popleft()
        try:
            await _accepted(publisher, message, end, asked.confirm_timeout_s)
        except Unroutable:
            report.unroutable[message.routing_key] += 1
        except (Refused, Unsendable) as error:
            code = "too_large" if isinstance(error, TooLarge) else "refused"
            report.leave(message.properties.message_id or "", code, str(error))
        else:
            looked.ack(tag)
            report.replayed += 1
            report.without.update(without)

    for tag, without, body, fields in spool:
        if len(under_way) == asked.window:
            await settle()
        properties = Properties(**fields)
        message = Message(exchange=TASKS, routing_key=properties.type or "", body=body, properties=properties)
        under_way.append((tag, without, message, _publish(publisher, message)))
    while under_way:
        await settle()


def _publish(publisher: CarefulPublisher, message: Message, *, alone: bool = False) -> _End:
    end: _End = asyncio.get_running_loop().create_future()
    publisher.send(message, partial(resolve, end), alone=alone)
    return end


async def _accepted(publisher: CarefulPublisher, message: Message, end: _End, timeout_s: float) -> None:
    """Wait for the end of what was published; publish it again, alone, if the broker refused it or a neighbour.

    Raises ``Unroutable``, ``Refused``, ``Unsendable``, and what ends a replay.
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
