"""Whether what passed on the wire keeps the promises about acks. Knows AMQP and the names of exchanges, no code.

A worker is what shares a connection name but for its last word (``worker-host-7 consume``, ``… publish``).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from tests.support.frames import Event

T = TypeVar("T")

#: How a violation begins of a failure that is told too early.
UNWRITTEN = "a failure is told before its letter is confirmed"
_DIRECT = "amq.rabbitmq.reply-to"
_MAILBOX = "mailbox."
_OBITUARIES = "tasks.obituaries"
_FAILED = "failed"
_INTERNAL_ERROR = 541
_ID = re.compile("[0-9a-f]{32}")


def audit(log: Iterable[Event]) -> list[str]:
    """The violations in a wire log, in order; empty if there are none.

    An ack, by a consumer that acks, of a message that wants a reply must follow the confirm of that reply (to its
    address, or to one from which the task was asked for again), or of a retry copy, or of a dead letter to which
    no reply can be sent; all of them published by the same worker, confirmed and not returned. Of a message that
    wants none: the confirm of whatever the worker published for it. The ack of a batch must follow all that for
    each of its tasks, alone or together with others, or for the batch as a whole. Once every delivery of a task is
    acked its worker publishes nothing more for it. No tag is settled twice, or on a channel that did not deliver
    it. No consumer holds more unacked messages than its prefetch. A failure is told after its letter was
    confirmed, or came as an obituary.
    """
    judge = Judge()
    for event in log:
        judge.take(event)
    return judge.violations


@dataclass(slots=True)
class _Delivery:
    id: str
    reply_to: str
    order: int
    resent: int
    consumer: str
    #: False for what is read from a mailbox: nothing depends on its ack.
    is_task: bool
    #: Of the tasks of a batch, whose own id is ``id``.
    ids: tuple[str, ...] = ()
    is_obituary: bool = False

    @property
    def all_ids(self) -> tuple[str, ...]:
        return (self.id, *self.ids)


@dataclass(slots=True)
class _Publication:
    id: str
    exchange: str
    routing_key: str
    #: Of the replies that it holds, if they are many.
    ids: tuple[str, ...] = ()
    returned: bool = False


@dataclass(slots=True)
class _Consumer:
    queue: str
    prefetch: int
    no_ack: bool
    unacked: int = 0


@dataclass(slots=True)
class _Channel:
    #: The broker has closed it: what the client says until it hears of that is ignored.
    is_closed: bool = False
    prefetch: int = 0
    highest: int = 0
    consumers: dict[str, _Consumer] = field(default_factory=dict)
    unacked: OrderedDict[int, _Delivery] = field(default_factory=OrderedDict)
    unconfirmed: OrderedDict[int, _Publication] = field(default_factory=OrderedDict)


@dataclass(slots=True)
class _Task:
    """What one worker did about one id."""

    #: Deliveries that are not acked, on connections that live.
    held: int = 0
    is_over: bool = False
    #: A delivery was lost with its channel: whatever came of it meanwhile, what runs is reported at its end.
    is_lost: bool = False
    #: The addresses it came with, and of the last request that had each: how often it had been asked for before,
    #: and the order of its newest delivery.
    addresses: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: Where a reply was accepted.
    answered: set[str] = field(default_factory=set)
    #: A reply that cannot be delivered: its mailbox is missing, or its address ends the connection.
    unanswerable: bool = False
    #: One that this worker wrote, or that the broker told it of.
    has_letter: bool = False
    #: Order of the last publish of anything, of a reply; of the last accepted retry copy, dead letter, anything.
    published: int = 0
    replied: int = 0
    retried: int = 0
    buried: int = 0
    accepted: int = 0


class Judge:
    """``take`` each event; ``violations`` grows."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self._names: dict[int, str] = {}
        self._channels: dict[tuple[int, int], _Channel] = {}
        self._tasks: dict[tuple[str, str], _Task] = {}
        self._ended: set[int] = set()
        self._order = 0
        self._steps = {
            "hello": self._on_hello,
            "qos": self._on_qos,
            "consume": self._on_consume,
            "deliver": self._on_deliver,
            "get_ok": self._on_get_ok,
            "ack": self._on_ack,
            "nack": self._on_given_back,
            "reject": self._on_given_back,
            "publish": self._on_publish,
            "return": self._on_return,
            "confirm": self._on_confirm,
            "refuse": self._on_refuse,
            "channel_open": self._on_channel_open,
            "channel_close": self._on_channel_close,
            "close": self._on_close,
            "end": self._on_end,
            "garbage": self._on_garbage,
        }

    def take(self, event: Event) -> None:
        self._order += 1
        step = self._steps.get(event.kind)
        if step is not None and event.connection not in self._ended:
            step(event)

    def _on_hello(self, event: Event) -> None:
        owner, _, _last = event.name.rpartition(" ")
        self._names[event.connection] = owner or f"{event.name}#{event.connection}"

    def _on_qos(self, event: Event) -> None:
        if not event.whole_channel:
            self._channel(event).prefetch = event.prefetch

    def _on_consume(self, event: Event) -> None:
        channel = self._channel(event)
        channel.consumers[event.name] = _Consumer(event.queue, channel.prefetch, event.no_ack)

    def _on_deliver(self, event: Event) -> None:
        channel = self._channel(event)
        channel.highest = max(channel.highest, event.tag)
        consumer = channel.consumers.get(event.name)
        if consumer is None or consumer.no_ack:
            return
        delivery = _Delivery(
            event.id,
            event.reply_to,
            self._order,
            event.resent,
            event.name,
            not consumer.queue.startswith(_MAILBOX),
            event.ids,
            consumer.queue == _OBITUARIES,
        )
        channel.unacked[event.tag] = delivery
        for task in self._tasks_of(event, delivery):
            task.held += 1
            task.is_over = False
            if delivery.is_obituary:
                task.has_letter = True
            asked = (event.resent, self._order)
            task.addresses[event.reply_to] = max(asked, task.addresses.get(event.reply_to, asked))
        consumer.unacked += 1
        if consumer.prefetch and consumer.unacked > consumer.prefetch:
            self._violation(event, f"{consumer.unacked} unacked, prefetch {consumer.prefetch}: {event.name}")

    def _on_get_ok(self, event: Event) -> None:
        channel = self._channel(event)
        channel.highest = max(channel.highest, event.tag)
        channel.unacked[event.tag] = _Delivery(
            event.id, event.reply_to, self._order, event.resent, "", is_task=False
        )

    def _on_ack(self, event: Event) -> None:
        for delivery in self._settled(event):
            if delivery.is_task:
                as_a_whole, *each = tasks = self._tasks_of(event, delivery)
                open_ids = [
                    task_id
                    for task_id, task in zip(delivery.ids or (delivery.id,), each or tasks, strict=True)
                    if not _may_ack(task, task_id, delivery)
                ]
                is_told = as_a_whole.accepted > delivery.order and _may_ack(as_a_whole, delivery.id, delivery)
                if open_ids and not is_told:
                    what = _shown(delivery, open_ids)
                    self._violation(event, f"acked before the confirm that it depends on: {what}")
                for task in tasks:
                    task.held -= 1
                    task.is_over = task.held == 0 and not (task.is_lost and delivery.is_obituary)

    def _on_given_back(self, event: Event) -> None:
        for delivery in self._settled(event):
            for task in self._tasks_of(event, delivery):
                task.held -= 1

    def _on_publish(self, event: Event) -> None:
        late = []
        for task_id in (event.id, *event.ids):
            task = self._task(event, task_id)
            task.published = self._order
            if _is_reply(event):
                task.replied = self._order
            # Of what has no id of ours nobody can tell which delivery it belongs to.
            if task.is_over and _ID.fullmatch(task_id):
                late.append(task_id)
            if _is_reply(event) and event.type == _FAILED and not task.has_letter and _ID.fullmatch(task_id):
                self._violation(event, f"{UNWRITTEN}: {task_id}")
        if late:
            self._violation(event, f"published for {', '.join(late)} after its last delivery was acked")
        if event.tag:
            publication = _Publication(event.id, event.exchange, event.routing_key, event.ids)
            self._channel(event).unconfirmed[event.tag] = publication

    def _on_return(self, event: Event) -> None:
        for publication in self._channel(event).unconfirmed.values():
            place = (publication.id, publication.exchange, publication.routing_key)
            if not publication.returned and place == (event.id, event.exchange, event.routing_key):
                publication.returned = True
                return

    def _on_confirm(self, event: Event) -> None:
        for publication in _taken(self._channel(event).unconfirmed, event):
            # A message of many replies is none to the batch: each speaks for its own task.
            for task_id in publication.ids or (publication.id,):
                self._accepted(self._task(event, task_id), publication)

    def _accepted(self, task: _Task, publication: _Publication) -> None:
        if publication.returned:
            task.unanswerable |= _is_reply(publication)
            return
        task.accepted = self._order
        if _is_reply(publication):
            is_direct = publication.exchange == ""
            task.answered.add(publication.routing_key if is_direct else _MAILBOX + publication.routing_key)
        elif publication.exchange.startswith("tasks.delay."):
            task.retried = self._order
        elif publication.exchange == "tasks.dead":
            task.buried = self._order
            task.has_letter = True

    def _on_refuse(self, event: Event) -> None:
        _taken(self._channel(event).unconfirmed, event)

    def _on_close(self, event: Event) -> None:
        if event.by == "broker" and event.code == _INTERNAL_ERROR:
            for key, channel in self._channels.items():
                for publication in channel.unconfirmed.values() if key[0] == event.connection else ():
                    for task_id in publication.ids or (publication.id,):
                        self._task(event, task_id).unanswerable |= publication.exchange == ""

    def _on_channel_open(self, event: Event) -> None:
        self._drop((event.connection, event.channel))

    def _on_channel_close(self, event: Event) -> None:
        self._drop((event.connection, event.channel))
        self._channel(event).is_closed = True

    def _on_end(self, event: Event) -> None:
        self._ended.add(event.connection)
        for key in [key for key in self._channels if key[0] == event.connection]:
            self._drop(key)

    def _on_garbage(self, event: Event) -> None:
        # What cannot be read cannot be judged; one that never said hello is no worker.
        if event.connection in self._names:
            self._violation(event, "the rest of this connection cannot be read")

    def _drop(self, key: tuple[int, int]) -> None:
        channel = self._channels.pop(key, None)
        for delivery in channel.unacked.values() if channel is not None else ():
            for task_id in delivery.all_ids if delivery.is_task else ():
                task = self._tasks[self._names.get(key[0], ""), task_id]
                task.held -= 1
                task.is_lost = True

    def _settled(self, event: Event) -> list[_Delivery]:
        channel = self._channel(event)
        settled = _taken(channel.unacked, event)
        if not settled and not channel.is_closed:
            what = "a second time" if event.tag <= channel.highest else "on a channel that did not deliver it"
            self._violation(event, f"tag {event.tag} is settled {what}")
        for delivery in settled:
            if delivery.consumer in channel.consumers:
                channel.consumers[delivery.consumer].unacked -= 1
        return settled

    def _channel(self, event: Event) -> _Channel:
        return self._channels.setdefault((event.connection, event.channel), _Channel())

    def _task(self, event: Event, task_id: str) -> _Task:
        return self._tasks.setdefault((self._names.get(event.connection, ""), task_id), _Task())

    def _tasks_of(self, event: Event, delivery: _Delivery) -> list[_Task]:
        """The one of a delivery; of a batch the batch itself and then each of its tasks."""
        return [self._task(event, task_id) for task_id in delivery.all_ids] if delivery.is_task else []

    def _violation(self, event: Event, what: str) -> None:
        name = self._names.get(event.connection, "?")
        self.violations.append(f"{event.at:.3f} {name}, connection {event.connection}: {event.kind}: {what}")


def _taken(table: OrderedDict[int, T], event: Event) -> list[T]:
    """What an ack, nack or confirm is about, taken out of the table. A multiple one covers all up to its tag."""
    if not event.multiple:
        return [table.pop(event.tag)] if event.tag in table else []
    # Tag 0 means all.
    return [table.pop(tag) for tag in list(table) if tag <= event.tag or not event.tag]


def _is_reply(what: Event | _Publication) -> bool:
    return what.exchange in ("", "replies")


def _may_ack(task: _Task, task_id: str, delivery: _Delivery) -> bool:
    since = delivery.order
    if not (_ID.fullmatch(task_id) and delivery.reply_to.startswith((_DIRECT, _MAILBOX))):
        return task.published < since or task.accepted > since
    # Copies do not arrive in the order in which they were asked for; only the last one is still waited for.
    asked = (delivery.resent, since)
    addresses = {address for address, last in task.addresses.items() if last >= asked}
    return (
        bool(addresses & task.answered)
        or task.retried > since
        or (task.buried > since and (task.replied < since or task.unanswerable))
        or (task.unanswerable and delivery.reply_to.startswith(_DIRECT))
    )


def _shown(delivery: _Delivery, task_ids: list[str]) -> str:
    return f"{', '.join(task_ids)} (reply to {delivery.reply_to[:40] or 'nobody'})"
