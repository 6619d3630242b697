"""What a worker reports of tasks that somebody watches. Best effort: nothing here holds up or fails a task.

It is attached as long as somebody watches, and sees three places: where a delivery comes, the channel by which it
is settled, and what the outbox sends. That a run has begun is found by looking; of a short one its end says when.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from broker.amqp.publisher import Message, OnEnd
from broker.control.stream import now_ms
from broker.errors import PublishError
from protocol.batch import BATCH
from protocol.control import MOST_IDS, Watch
from protocol.dead_letter import reason_of
from protocol.errors import ErrorCode, Malformed
from protocol.limits import Limits
from protocol.names import OBITUARIES, REPLIES
from protocol.properties import Reader
from protocol.reply import DONE, FAILED, Reply, read_replies
from protocol.watching import LATEST_MS, Event, What
from worker.execution.executor import Begun
from worker.intake.batch import Batch
from worker.intake.delivery import Channel, Delivery

#: Who may watch at a time, and for how long at most.
MOST = 8
LONGEST_MS = 3600 * 1000
#: Of how many tasks one is told.
MOST_FOLLOWED = 2 * MOST_IDS
#: How often it is looked whether a task has begun that has not ended.
LOOK_S = 0.02
#: Ends of tasks that did not run.
_NEVER_RAN = (ErrorCode.CANCELLED, ErrorCode.EXPIRED)
#: Takes an event for an address, or drops it.
Send = Callable[[Watch, str, Event], None]


def over_at(record: Watch) -> int:
    """When its time is over, in epoch milliseconds."""
    return min(record.until, record.at + LONGEST_MS)


@dataclass(slots=True, eq=False)
class _Watcher:
    record: Watch
    reply_to: str
    #: Ids of tasks, and how many more are taken up.
    followed: set[str]
    left: int
    reported: int = 0


class Watching:
    """Life: ``attach`` → ``takes`` and ``sees`` → ``ends``, when the time of a watcher is over."""

    def __init__(
        self,
        identity: str,
        limits: Limits,
        running: Callable[[], list[tuple[str, Begun]]],
        send: Send,
    ) -> None:
        self._identity = identity
        self._limits = limits
        self._running = running
        self._send = send
        self._watchers: list[_Watcher] = []
        #: Of what is watched and has not begun, as far as that is known.
        self._waiting: set[str] = set()
        self._look: asyncio.TimerHandle | None = None

    def attach(self, record: Watch, reply_to: str, here: Iterable[Batch]) -> None:
        """Report to one more, and first what is here already. Who watches has the ids of a later record added."""
        known = next((one for one in self._watchers if one.reply_to == reply_to), None)
        watcher = known or _Watcher(record, reply_to, set(), record.next)
        if known is None:
            is_full = len(self._watchers) == MOST
            text = f"{MOST} others watch already" if is_full else ""
            self._report_to(watcher, self._event(What.WATCHES, [], text=text))
            if is_full:
                return
            self._watchers.append(watcher)
        new = set(record.ids[: MOST_FOLLOWED - len(watcher.followed)]) - watcher.followed
        watcher.followed |= new
        for batch in here:
            if not new.isdisjoint(batch.ids):
                self._note(What.HELD, batch.delivery, batch.ids, batch, [watcher])

    def ends(self) -> bool:
        """Report no more to those whose time is over; whether nobody is left."""
        now = now_ms()
        self._watchers = [one for one in self._watchers if over_at(one.record) > now]
        return not self._watchers

    def takes(self, batch: Batch, *, is_known: bool) -> None:
        """It comes now. ``is_known``: some of its tasks run here, or ended here."""
        for watcher in self._watchers:
            if watcher.left and watcher.record.task in ("", batch.task.name):
                fresh = [one for one in batch.ids if one not in watcher.followed][: watcher.left]
                watcher.followed.update(fresh)
                watcher.left -= len(fresh)
        self._note(What.DELIVERED, batch.delivery, batch.ids, batch)
        if is_known:
            self._waiting.difference_update(batch.ids)

    def takes_other(self, delivery: Delivery) -> None:
        """It is no task of this worker, or one that the broker buried."""
        self._note(What.DELIVERED, delivery, [str(delivery.properties.message_id)])
        self._waiting.discard(str(delivery.properties.message_id))

    def _note(
        self,
        what: What,
        delivery: Delivery,
        ids: Sequence[str],
        batch: Batch | None = None,
        watchers: Sequence[_Watcher] | None = None,
    ) -> None:
        if not (found := self._watched(ids)):
            return
        headers = Reader(delivery.headers, "headers")
        is_buried = delivery.queue == OBITUARIES
        event = self._event(
            what,
            ids,
            task=str(delivery.properties.type),
            queue=delivery.queue,
            exchange=delivery.exchange,
            key=delivery.routing_key,
            tag=delivery.tag,
            redelivered=int(delivery.redelivered),
            attempt=_number(headers, "attempt", 1),
            code=reason_of(delivery.exchange, delivery.routing_key, delivery.headers).code if is_buried else "",
            **{key: _number(headers, key) for key in ("replay", "sent_at", "replayed_at")},
        )
        self._report(event, watchers)
        if not isinstance(delivery.channel, _Seen):
            delivery.channel = _Seen(delivery.channel, partial(self._settled, ids, batch))
        self._waiting.update(found)
        self._look_soon()

    def _settled(self, ids: Sequence[str], batch: Batch | None, what: What, tag: int) -> None:
        if batch is not None and batch.ran_s:
            # Of one that nobody asked about there was no reply.
            for task_id in [one for one in ids if one in self._waiting]:
                self._begun(task_id, now_ms() - int(1000 * batch.ran_s))
        self._waiting.difference_update(ids)
        self._report(self._event(what, ids, tag=tag))

    def sees(self, message: Message, on_end: OnEnd) -> OnEnd:
        """It is being sent; what is returned gets its end."""
        found = [one for one in self._read(message) if self._watched(one[0].ids)]
        if not found:
            return on_end
        for event, began in found:
            if began is not None:
                self._begun(event.ids[0], began)
            self._report(event)
        about = found[0][0]
        ids = [one for event, _ in found for one in event.ids]

        def ended(problem: PublishError | None) -> None:
            what, text = (What.UNCONFIRMED, str(problem)) if problem else (What.CONFIRMED, "")
            self._report(self._event(what, ids, exchange=about.exchange, key=about.key, text=text))
            on_end(problem)

        return ended

    def _read(self, message: Message) -> Iterator[tuple[Event, int | None]]:
        """What is to be reported of each task that a message is about, and when its run began, if known."""
        properties, exchange = message.properties, message.exchange
        key = message.routing_key if exchange else ""
        publish = partial(self._event, What.PUBLISHED, exchange=exchange, key=key)
        if properties.type in (DONE, FAILED, BATCH) and exchange in ("", REPLIES):
            if properties.type != BATCH and not self._watched([str(properties.correlation_id)]):
                return
            for reply in read_replies(message.body, self._limits):
                if isinstance(reply, Reply):
                    code, text = (reply.failure.code, reply.failure.text) if reply.failure else (DONE, "")
                    run = reply.run
                    event = publish([reply.id], attempt=run.attempts, ran_ms=run.ran_ms, code=code, text=text)
                    yield event, None if code in _NEVER_RAN else event.at - run.ran_ms
            return
        headers = Reader(properties.headers, "headers")
        history = headers.array("history", self._limits.history_entries)
        last = Reader(history[-1] if history else {}, "history")
        code = headers.text("reason", last.text("error", ""))
        event = publish(
            [properties.message_id or properties.correlation_id or ""],
            attempt=_number(headers, "attempt", 1),
            replay=_number(headers, "replay"),
            code=code,
            text=headers.text("text", last.text("text", "")),
            ran_ms=_number(last, "ran_ms"),
        )
        began = _number(last, "started")
        yield event, began if began and code not in _NEVER_RAN else None

    def _look_soon(self) -> None:
        if self._look is None and self._waiting:
            self._look = asyncio.get_running_loop().call_later(LOOK_S, self._look_at_runs)

    def _look_at_runs(self) -> None:
        self._look = None
        now, now_s = now_ms(), time.monotonic()
        for _, begun in self._running():
            self._begun(begun.run.ids[begun.position], now - int(1000 * (now_s - begun.since_s)))
        self._look_soon()

    def _begun(self, task_id: str, at: int) -> None:
        if task_id in self._waiting:
            self._waiting.discard(task_id)
            self._report(self._event(What.RUNS, [task_id], at=at))

    def _watched(self, ids: Sequence[str]) -> list[str]:
        return [one for one in ids if any(one in watcher.followed for watcher in self._watchers)]

    def _event(self, what: What, ids: Sequence[str], *, at: int = 0, **facts: Any) -> Event:
        return Event(number=0, worker=self._identity, what=what, ids=tuple(ids), at=at or now_ms(), **facts)

    def _report(self, event: Event, watchers: Sequence[_Watcher] | None = None) -> None:
        for watcher in self._watchers if watchers is None else watchers:
            if ids := tuple(one for one in event.ids if one in watcher.followed):
                self._report_to(watcher, replace(event, ids=ids))

    def _report_to(self, watcher: _Watcher, event: Event) -> None:
        watcher.reported += 1
        self._send(watcher.record, watcher.reply_to, replace(event, number=watcher.reported))


class _Seen:
    """The channel of a delivery that is watched."""

    def __init__(self, channel: Channel, on_settled: Callable[[What, int], None]) -> None:
        self._channel = channel
        self._on_settled = on_settled

    @property
    def is_open(self) -> bool:
        return self._channel.is_open

    def ack(self, tag: int) -> bool:
        return self._noted(What.ACKED, tag, self._channel.ack(tag))

    def nack(self, tag: int) -> bool:
        return self._noted(What.GIVEN_BACK, tag, self._channel.nack(tag))

    def _noted(self, what: What, tag: int, is_settled: bool) -> bool:
        if is_settled:
            self._on_settled(what, tag)
        return is_settled


def _number(table: Reader, key: str, default: int = 0) -> int:
    """Of a message that may be malformed."""
    try:
        return table.integer(key, default, 0, LATEST_MS)
    except Malformed:
        return default
