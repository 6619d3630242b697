"""Asking: publishing requests and matching what comes back, over as many connections as it takes.

A direct reply address belongs to the channel that consumes ``amq.rabbitmq.reply-to``, and an error on that
channel would cost every pending reply (https://www.rabbitmq.com/docs/direct-reply-to). So requests are published
on others, and name its address, which ``dispatcher.reply_channel`` learns.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from functools import partial

from broker.amqp.careful import CarefulPublisher
from broker.amqp.connection import Connection
from broker.amqp.handed_over import Delivered
from broker.amqp.link import Link, LinkSettings
from broker.amqp.link_state import State
from broker.amqp.publisher import REFUSALS
from broker.config.settings import Settings
from broker.errors import (
    ConfirmLost,
    ConnectionLost,
    NoMajority,
    PublishError,
    Refused,
    Starting,
    TimedOut,
    Unroutable,
)
from broker.topology.declare import ensure
from broker.topology.model import topology_of
from dispatcher.errors import ASK_WORKERS, NoReply, NotOpen, ReplyUnreadable, UnknownTask
from dispatcher.pending import Accepted, End, OnEnd, Pending, PendingCalls
from dispatcher.reply_channel import ReplyChannel
from dispatcher.request import Request
from protocol.names import DIRECT_REPLY_TO
from protocol.properties import ReceivedProperties
from protocol.reply import Reply, Unreadable, read_replies

log = logging.getLogger("glassrabbit.dispatcher")

#: How often deadlines are looked at: a call ends at most this long after its deadline.
SWEEP_S = 0.05
#: A little longer than one attempt to connect may take, so that the caller gets the attempt's own error.
MARGIN_S = 0.25
#: The wait before a refused publish of a patient call is tried again.
REFUSED_WAIT_S = 0.5


class Asking:
    """Life: ``open``, or ``begin`` → ``launch`` → ``close``, in one process and on one loop. Every call that is
    launched ends once, by its deadline."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = settings.limits.messages
        self._link = Link(LinkSettings.of(settings), "dispatcher", self._set_up, logs_first=False)
        self._connection: Connection | None = None
        self._publisher: CarefulPublisher | None = None
        self._replies: ReplyChannel | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._is_closed = False
        #: Where it was begun: neither a fork nor another loop hears of what comes on the connection.
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        self.pending = PendingCalls()

    @property
    def generation(self) -> int:
        return self._link.generation

    async def open(self, within_s: float | None) -> None:
        """Raises ``Unreachable``, ``AccessRefused`` or ``TopologyDrift`` if it cannot be had within
        ``connect_timeout_s`` for each host; a broker that may soon be there is waited for up to ``within_s``."""
        self.begin()
        broker = self._settings.broker
        usual_s = len(broker.endpoints) * broker.connect_timeout_s + MARGIN_S
        within_s = usual_s if within_s is None else within_s
        try:
            try:
                await self._link.wait_open(min(usual_s, within_s))
            except (Starting, NoMajority, TimedOut):
                await self._link.wait_open(max(0.0, within_s - usual_s))
        except BaseException:
            await self.close()
            raise

    def begin(self) -> None:
        """Begin to open: what is launched waits for the connection until its own deadline."""
        self._home = os.getpid(), asyncio.get_running_loop()
        self._tasks = [asyncio.create_task(self._link.run()), asyncio.create_task(self._sweep())]

    def problem(self) -> NotOpen | None:
        """Why nothing can be asked here and now."""
        if self._home is None or self._is_closed:
            return NotOpen()
        pid, loop = self._home
        if pid != os.getpid():
            return NotOpen(f"was opened in process {pid}, and this is a fork of it")
        return None if loop is asyncio.get_running_loop() else NotOpen("was opened on another event loop")

    async def close(self) -> None:
        """Close the connection. Calls that still wait end with ``ConnectionLost``. Does nothing where it is not
        open: the connection of the process that forked this one is not closed from here."""
        if self.problem() is not None:
            return
        self._is_closed = True
        await self._link.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for task_id in list(self.pending.calls):
            self.pending.end(task_id, ConnectionLost("the dispatcher was closed"))

    async def connection(self, within_s: float) -> Connection:
        """The open connection, for channels of one's own. Raises ``NotOpen``, and what keeps it from being
        open."""
        while True:
            if (problem := self.problem()) is not None:
                raise problem
            await self._link.wait_open(within_s)
            if self._connection is not None and self._connection.is_open:
                return self._connection
            # It ended in this turn of the loop, and the link has yet to hear of it.
            await asyncio.sleep(0)

    def launch(self, request: Request, timeout_s: float, on_end: OnEnd, *, patient: bool = False) -> None:
        """Send its tasks, now or as soon as there is a connection, and call back with how each ended. The request
        is not the caller's any more: what ends is taken out of it.

        ``patient``: a refused publish is tried again until the deadline.
        """
        if (problem := self.problem()) is not None:
            asyncio.get_running_loop().call_soon(on_end, dict.fromkeys(request.tasks, problem))
            return
        call = Pending(
            request=request,
            timeout_s=timeout_s,
            # What waits in the delay line on purpose does not use up its time.
            deadline_s=time.monotonic() + timeout_s + (_until_s(request.due_ms) if request.due_ms else 0.0),
            on_end=on_end,
            wants_reply=request.reply_to == DIRECT_REPLY_TO,
            patient=patient,
        )
        self.pending.add(call)
        self._publish(call)

    def _publish(self, call: Pending, *, alone: bool = False) -> None:
        publisher, replies = self._publisher, self._replies
        if publisher is None or replies is None or not (publisher.is_open and call.request.tasks):
            return  # It has ended, or the next generation publishes it.
        if call.wants_reply:
            if not replies.address:
                replies.learn(partial(self._on_learned, call))
                return
            publisher = replies.publisher
        message = call.request.message(self.pending.batch_id(call), resent=call.sent, address=replies.address)
        call.sent += 1
        publisher.send(message, partial(self._on_published, publisher, call), alone=alone)

    def _on_learned(self, call: Pending, refusal: PublishError | None) -> None:
        if refusal is not None:
            self._on_refused(call, refusal)
        else:
            self._publish(call)

    def _on_published(self, publisher: CarefulPublisher, call: Pending, error: PublishError | None) -> None:
        match error:
            case None:
                call.accepted, call.refusal = True, None
                if not call.wants_reply:
                    self._end(call, Accepted())
            case ConfirmLost():
                call.uncertain |= error.sent
                call.is_lost |= error.sent and error.code not in REFUSALS
                # It, or what was beside it, was refused; or the connection is gone.
                if publisher.is_open:
                    self._publish(call, alone=True)
            case Refused() if call.patient and not call.accepted:
                call.refusal = error
                asyncio.get_running_loop().call_later(REFUSED_WAIT_S, self._publish, call)
            case Unroutable() | Refused() if call.accepted or call.uncertain:
                call.refusal = error
            case Unroutable():
                self._end(call, UnknownTask(call.request.name, self._settings.tasks))
            case _:
                self._on_refused(call, error)

    def _on_refused(self, call: Pending, error: PublishError) -> None:
        """The broker does not take it: the end, unless it may have an earlier copy, whose reply may still come."""
        if call.accepted or call.is_lost:
            call.refusal = error
        else:
            self._end(call, error)

    def _end(self, call: Pending, end: End) -> None:
        """All that is left of it ends like this."""
        for task_id in call.ids:
            self.pending.end(task_id, end)

    async def _set_up(self, connection: Connection) -> None:
        """Then ask everything again that was asked on this connection's predecessor."""
        if self._link.generation == 0:
            await ensure(connection, topology_of(self._settings))
        publisher = await CarefulPublisher.open(connection)
        self._connection, self._publisher = connection, publisher
        self._replies = ReplyChannel(connection, publisher, self._on_reply)
        for call in self.pending.to_ask_again():
            self._publish(call)

    def _on_reply(self, _method: Delivered, properties: ReceivedProperties, body: bytes) -> None:
        replies = read_replies(body, self._limits)
        self.pending.end_all([reply for reply in replies if isinstance(reply, Reply)])
        for reply in replies:
            if isinstance(reply, Unreadable):
                log.warning("a reply cannot be read: %s", reply.error)
                task_id = reply.id or (None if reply.is_beside_others else properties.correlation_id)
                self.pending.end(str(task_id), ReplyUnreadable(f"the reply cannot be read: {reply.error}"))

    async def _sweep(self) -> None:
        """End what is overdue; and a connection whose confirms do not come, so that the next one asks again."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            for call in self.pending.overdue(time.monotonic()):
                refusal = None if call.accepted or call.uncertain else call.refusal
                for task_id in call.ids:
                    silence = NoReply(
                        task_id,
                        call.timeout_s,
                        accepted=call.accepted,
                        wants_reply=call.wants_reply,
                        advice=self._advice(call),
                    )
                    self.pending.end(task_id, refusal or silence)
            publisher, replies = self._publisher, self._replies
            # Under an alarm confirms wait on purpose: see the state ``blocked``.
            if publisher is None or replies is None or self._link.state is not State.OPEN:
                continue
            bound_s = self._settings.broker.confirm_timeout_s
            if loop.time() - min(publisher.oldest_s, replies.publisher.oldest_s) > bound_s:
                self._link.fail(ConnectionLost(f"no confirm within {bound_s:g} s"))

    def _advice(self, call: Pending) -> str:
        """What it looks like when nothing came of a call."""
        if not self._link.is_open:
            return f"There is no connection: {self._link.last_error}"
        if call.refusal is not None:
            return f"Asked again, it was refused: {call.refusal}"
        if call.accepted:
            return ASK_WORKERS
        why = "is short of memory or disk" if self._link.state is State.BLOCKED else "hangs, or lacks a majority"
        return f"The broker did not confirm it: it {why}. See `python -m broker doctor`."


def _until_s(due_ms: int) -> float:
    return max(0.0, due_ms / 1000 - time.time())
