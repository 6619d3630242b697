"""Bugs for a requester or a collector, patched into this process when they are called: see ``planted_worker``."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from broker.amqp.careful import CarefulPublisher
from broker.amqp.connection import Connection
from broker.amqp.publisher import Message, OnEnd, Publisher
from broker.errors import ConfirmLost, PublishError, Refused
from dispatcher import request
from dispatcher.asking import Asking
from dispatcher.errors import UnknownTask
from dispatcher.mailbox import Mailbox
from dispatcher.pending import Pending, PendingCalls
from dispatcher.request import Request
from protocol.delay import Hop
from protocol.names import new_id
from protocol.reply import Reply
from tests.chaos.planted_worker import publish_optional, swap

IMPATIENCE_S = 0.5
LATEST = 20


def dispatcher_without_mandatory() -> None:
    """Tasks are not published ``mandatory``: one that no queue is bound for is confirmed, and gone."""
    publish_optional()


def return_ignored() -> None:
    """A task that the broker returned is taken for accepted, since its confirm came."""
    swap(Publisher, "_on_return", lambda self, method, properties: None)


def confirm_not_awaited() -> None:
    """A task is taken for accepted as soon as it was handed to the connection."""

    def accepted(self: Publisher, message: Message, on_end: OnEnd) -> None:
        send(self, message, lambda _error: None)
        asyncio.get_running_loop().call_soon(on_end, None)

    send = swap(Publisher, "send", accepted)


def lost_confirm_taken_for_return() -> None:
    """A caller whose confirm was lost is told that the broker does not have its task."""

    def told(self: Asking, publisher: CarefulPublisher, call: Pending, error: PublishError | None) -> None:
        if isinstance(error, ConfirmLost):
            self._end(call, UnknownTask(call.request.name, self._settings.tasks))
        else:
            on_published(self, publisher, call, error)

    on_published = swap(Asking, "_on_published", told)


def asked_again_as_another() -> None:
    """What is asked again on a new connection gets a new id."""

    def renamed(self: Request, batch_id: str = "", *, resent: int = 0, address: str = "") -> Message:
        tasks = {new_id(): body for body in self.tasks.values()} if resent else self.tasks
        again: Message = message(replace(self, tasks=tasks), batch_id, resent=resent, address=address)
        return again

    message = swap(Request, "message", renamed)


def answered_asked_again() -> None:
    """On a new connection the latest calls that were answered are asked again, too."""
    asked: dict[str, Request] = {}
    latest: deque[Request] = deque(maxlen=LATEST)

    def noted(self: Asking, call: Pending, *, alone: bool = False) -> None:
        if call.wants_reply:
            asked.update(
                (one, replace(call.request, tasks={one: body})) for one, body in call.request.tasks.items()
            )
        publish(self, call, alone=alone)

    def ended(self: PendingCalls, replies: Iterable[Reply]) -> None:
        latest.extend(asked.pop(reply.id) for reply in replies if reply.id in asked)
        end_all(self, replies)

    async def and_again(self: Asking, connection: Connection) -> None:
        await set_up(self, connection)
        assert self._publisher is not None
        for one in latest:
            self._publisher.send(replace(one, reply_to=None).message("", resent=1), lambda _error: None)

    publish = swap(Asking, "_publish", noted)
    end_all = swap(PendingCalls, "end_all", ended)
    set_up = swap(Asking, "_set_up", and_again)


def delays_in_other_units() -> None:
    """A delay is taken for eighths of a second: it becomes eight times as long."""

    def longer(seconds: float, task: str) -> Hop:
        hop: Hop = enter(8 * seconds, task)
        return hop

    enter = swap(request, "enter", longer)


def refused_taken_for_accepted() -> None:
    """A task that its queue refuses is taken for accepted, since the broker has answered."""

    def taken(self: Asking, publisher: CarefulPublisher, call: Pending, error: PublishError | None) -> None:
        on_published(self, publisher, call, None if isinstance(error, Refused) else error)

    on_published = swap(Asking, "_on_published", taken)


def calls_without_deadline() -> None:
    """Nobody looks at deadlines: a call whose reply does not come never ends."""
    swap(PendingCalls, "overdue", lambda self, now_s: [])


def replies_in_order() -> None:
    """A reply ends the oldest call, whatever its id."""

    def oldest(self: PendingCalls, replies: Iterable[Reply]) -> None:
        for reply in replies:
            first = next((one for one, call in self.calls.items() if call.wants_reply), reply.id)
            self.end(first, reply)

    swap(PendingCalls, "end_all", oldest)


def replies_not_deduplicated() -> None:
    """A reply that came to the mailbox twice is given twice."""

    def forgetful(self: Mailbox, body: bytes) -> list[Reply]:
        self._seen.clear()
        replies: list[Reply] = read(self, body)
        return replies

    read = swap(Mailbox, "_read", forgetful)


def asked_again_in_impatience() -> None:
    """A call that waits for its reply is asked again every half a second."""

    def impatient(self: Asking, call: Pending, *, alone: bool = False) -> None:
        publish(self, call, alone=alone)
        if call.wants_reply:
            asyncio.get_running_loop().call_later(IMPATIENCE_S, again, self, self._publisher, call)

    def again(self: Asking, publisher: CarefulPublisher | None, call: Pending) -> None:
        if call.request.tasks and self._publisher is publisher:
            impatient(self, call)

    publish = swap(Asking, "_publish", impatient)
