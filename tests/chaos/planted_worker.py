"""Bugs for a worker: each a small mistake that somebody could make, patched into this process when it is called.

The docstring of each says what the bug does. Nothing of the product knows of them; a patch of something that the
product no longer has raises ``AttributeError``, so that no bug passes for planted that is not.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from broker.amqp.channel import Channel
from broker.amqp.connection import Connection
from broker.amqp.link_state import State
from broker.amqp.publisher import Message, OnEnd
from broker.errors import ConnectionLost, MayNotPublish, PublishError, Refused
from protocol import delay
from protocol.errors import Malformed
from protocol.names import DEAD, REPLIES, new_id
from protocol.properties import Properties
from protocol.reply import PackedReply
from protocol.task import Attempt, Task
from worker.intake.admission import Admission
from worker.intake.batch import Batch, Key
from worker.intake.consumer import Consumer
from worker.intake.delivery import Delivery
from worker.intake.ledger import Ledger
from worker.lifecycle import Lifecycle
from worker.settlement import publishing as publications
from worker.settlement.failures import Failures
from worker.settlement.outbox import Outbox
from worker.settlement.publishing import Publishing
from worker.settlement.replies import Replies
from worker.worker import Worker

#: Of an id, for a ledger that is too short of it.
SHORT = 2
PURGE_EVERY_S = 1.0


def swap(owner: object, name: str, new: Any) -> Any:
    """Put ``new`` in the place of an attribute and return what was there."""
    original = getattr(owner, name)
    setattr(owner, name, new)
    return original


def ack_before_work() -> None:
    """A delivery is acked when it comes, before it is run."""

    def acked_first(self: Lifecycle, delivery: Delivery) -> None:
        delivery.channel.ack(delivery.tag)
        taken(self, delivery)

    taken = swap(Lifecycle, "taken", acked_first)
    swap(Delivery, "ack", Delivery._settle)
    swap(Delivery, "nack", Delivery._settle)


def ack_before_reply_confirm() -> None:
    """The ack follows the reply at once, without its confirm."""
    _never_confirmed(lambda exchange: exchange in ("", REPLIES))


def ack_before_retry_confirm() -> None:
    """The ack follows the retry copy at once, without its confirm."""
    _never_confirmed(lambda exchange: exchange.startswith("tasks.delay."))


def ack_before_letter_confirm() -> None:
    """Dead letters are published and taken for stored, without their confirm."""
    _never_confirmed(lambda exchange: exchange == DEAD)


def _never_confirmed(concerns: Callable[[str], bool]) -> None:
    async def attempted(self: Outbox, message: Message, *, alone: bool, calm: bool = False) -> Any:
        if not concerns(message.exchange):
            return await confirmed(self, message, alone=alone, calm=calm)
        (await self._open_publisher(calm)).send(message, lambda _error: None)
        return None

    def posted(self: Outbox, message: Message, on_end: Callable[[Any], None]) -> bool:
        if not concerns(message.exchange):
            return post(self, message, on_end)
        if not post(self, message, lambda _error: None):
            return False
        on_end(None)
        return True

    confirmed = swap(Outbox, "_attempt", attempted)
    post: Callable[..., bool] = swap(Outbox, "post", posted)


def worker_without_mandatory() -> None:
    """What a worker publishes is not ``mandatory``: what no queue takes is confirmed, and gone."""
    publish_optional()


def publish_optional() -> None:
    """Take ``mandatory`` from everything that this process publishes."""

    def optional(self: Channel, *message: Any, mandatory: bool) -> None:
        publish(self, *message, mandatory=False)

    publish = swap(Channel, "publish", optional)


def old_tags() -> None:
    """After a reconnect the tags of the old channel are settled on the new one."""

    class Newest:
        """Whatever channel a consumer has at present."""

        def __init__(self, consumer: Consumer) -> None:
            self._consumer = consumer

        def __getattr__(self, name: str) -> Any:
            return getattr(self._consumer._channel, name)

    def for_the_newest(self: Consumer, channel: Channel, queue: str, prefetch: int) -> Any:
        return deliver(self, Newest(self), queue, prefetch)

    deliver = swap(Consumer, "_deliver", for_the_newest)


def broker_headers_copied() -> None:
    """A retry copy carries all headers that its original came with, ``x-death`` among them."""
    seen: dict[str, Mapping[str, Any]] = {}

    def remembered(self: Admission, properties: Any, *rest: Any) -> Task:
        task: Task = admit(self, properties, *rest)
        seen[task.id] = properties.headers or {}
        return task

    def with_all(task: Task) -> Properties:
        ours: Properties = task_properties(task)
        return replace(ours, headers={**_sendable(seen.get(task.id, {})), **ours.headers})

    admit = swap(Admission, "admit", remembered)
    task_properties = swap(publications, "task_properties", with_all)


def _sendable(value: Any) -> Any:
    """Of what the broker wrote the times as numbers: nobody here can send others."""
    if isinstance(value, Mapping):
        return {key: _sendable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_sendable(one) for one in value]
    return int(value.timestamp()) if isinstance(value, datetime) else value


def refusals_swallowed() -> None:
    """A message that cannot be understood is acked and forgotten."""

    async def swallowed(self: Failures, delivery: Delivery, refusal: Malformed) -> None:
        delivery.ack()

    swap(Failures, "refuse", swallowed)


def cancel_ignored() -> None:
    """Nobody listens when the broker cancels a consumer: alive, connected, and never delivered to again."""
    swap(Channel, "on_cancel", lambda self, callback: None)


def consumes_once() -> None:
    """The consumers are made on the first connection, and forgotten on those that come after it."""

    async def only_first(self: Consumer, connection: Connection) -> None:
        if not self.link.generation:
            await set_up(self, connection)

    set_up = swap(Consumer, "_set_up", only_first)


def attempts_not_counted() -> None:
    """A retry copy has the number of the attempt that failed: it fails for ever."""
    swap(Task, "next_attempt", lambda self, last, limits: replace(self, history=self.history_with(last, limits)))


def history_dropped() -> None:
    """A retry copy and a letter tell of the latest attempt, and of none before it."""
    swap(Task, "history_with", lambda self, last, limits: (last,))


def retried_as_another() -> None:
    """A retry copy gets an id of its own."""

    def renamed(self: Task, last: Attempt, limits: Any) -> Task:
        copy: Task = next_attempt(self, last, limits)
        return replace(copy, id=new_id())

    next_attempt = swap(Task, "next_attempt", renamed)


def backoff_ignored() -> None:
    """A retry copy takes the shortest way through the delay line."""

    def shortest(seconds: float, task: str) -> delay.Hop:
        hop: delay.Hop = enter(0, task)
        return hop

    enter = swap(publications, "enter", shortest)


def delay_rounded_down() -> None:
    """A delay becomes whole units of 0.1 s by cutting off what is left."""
    swap(delay, "math", SimpleNamespace(ceil=math.floor))


def letter_forgotten() -> None:
    """A task that failed for good is told of and acked; its letter is never written."""

    async def forgotten(self: Replies, *message: Any, **further: Any) -> bool:
        return True

    swap(Replies, "bury", forgotten)


def prefetch_ignored() -> None:
    """The consumers are made without a prefetch: the broker sends all that it has."""

    async def unlimited(self: Channel, *consumer: Any, prefetch: int = 0, **further: Any) -> Any:
        return await consume(self, *consumer, **further)

    consume = swap(Channel, "consume", unlimited)


def ledger_of_short_ids() -> None:
    """The ledger knows tasks by the first digits of their ids: some are answered with the reply of another."""

    def found(self: Ledger, key: Key, now_s: float) -> Batch | PackedReply | None:
        alike = (other for other in self._finished if other[:SHORT] == key[:SHORT])
        known: Batch | PackedReply | None = find(self, key, now_s)
        return known or find(self, next(alike, key), now_s)

    def knows_any(self: Ledger, keys: Sequence[Key]) -> bool:
        return bool(knows(self, keys)) or any(found(self, key, 0.0) for key in keys)

    find = swap(Ledger, "find", found)
    knows = swap(Ledger, "knows_any", knows_any)


def ledger_of_a_channel() -> None:
    """With each channel that it opens the ledger forgets what was finished on the one before."""
    ledgers: list[Ledger] = []

    def known(self: Ledger, *tasks: Any) -> None:
        if self not in ledgers:
            ledgers.append(self)
        start(self, *tasks)

    async def forgetful(self: Consumer, connection: Connection) -> None:
        for ledger in ledgers:
            ledger._finished.clear()
            ledger._order.clear()
        await set_up(self, connection)

    start = swap(Ledger, "start", known)
    set_up = swap(Consumer, "_set_up", forgetful)


def failure_before_letter() -> None:
    """The requester is told of a failure while its letter is still on its way."""

    async def begun(self: Publishing, *task: Any) -> bool:
        burials.add(asyncio.create_task(bury(self, *task)))
        return True

    burials: set[asyncio.Task[bool]] = set()
    bury = swap(Publishing, "bury", begun)


def letter_without_right_given_up() -> None:
    """What this user may not publish is taken for confirmed: nothing can be done about it."""
    _taken_for_confirmed(lambda error: isinstance(error, MayNotPublish))


def refusal_taken_for_confirm() -> None:
    """A message that its queue refuses is taken for confirmed, since the broker has answered."""
    _taken_for_confirmed(lambda error: isinstance(error, Refused))


def _taken_for_confirmed(concerns: Callable[[PublishError | None], bool]) -> None:
    async def attempted(self: Outbox, message: Message, **how: Any) -> PublishError | None:
        end: PublishError | None = await attempt(self, message, **how)
        return None if concerns(end) else end

    def posted(self: Outbox, message: Message, on_end: OnEnd) -> bool:
        return bool(post(self, message, lambda error: on_end(None if concerns(error) else error)))

    attempt = swap(Outbox, "_attempt", attempted)
    post = swap(Outbox, "post", posted)


def confirms_not_awaited_under_an_alarm() -> None:
    """While the broker takes no publishes, what was handed to the connection is taken for confirmed."""

    def hasty(self: Outbox, message: Message, on_end: OnEnd) -> bool:
        if self.link.state is not State.BLOCKED:
            return bool(post(self, message, on_end))
        if not post(self, message, lambda _error: None):
            return False
        on_end(None)
        return True

    post = swap(Outbox, "post", hasty)


def dropped_at_sigterm() -> None:
    """What has not started when a worker stops is acked instead of given back."""
    swap(Delivery, "nack", Delivery.ack)


def deaf_to_sigterm() -> None:
    """A worker that is told to stop goes on."""
    swap(Worker, "drain", lambda self: None)


def purged() -> None:
    """No bug but an act: an operator purges the work queues, time and again."""

    async def purge(self: Consumer, connection: Connection) -> None:
        try:
            channel = await connection.channel()
            while True:
                await asyncio.sleep(PURGE_EVERY_S)
                for queue in self._queues:
                    await channel._rpc(channel._channel.queue_purge, queue)
        except ConnectionLost:
            return

    async def and_purge(self: Consumer, connection: Connection) -> None:
        await set_up(self, connection)
        operators.add(asyncio.create_task(purge(self, connection)))

    operators: set[asyncio.Task[None]] = set()
    set_up = swap(Consumer, "_set_up", and_purge)
