"""The dispatcher: sends tasks, matches replies, asks again after a reconnect.

One link, one channel: it consumes ``amq.rabbitmq.reply-to`` and publishes in confirm mode, since a direct reply
address belongs to the channel that asks (https://www.rabbitmq.com/docs/direct-reply-to). Nothing else is done
on it: an error there would cost every pending reply.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from broker.connection import Connection
from broker.declare import ensure, ensure_mailbox
from broker.errors import ConfirmLost, ConnectionLost, Unroutable
from broker.link import Link, LinkSettings
from broker.publisher import Publisher
from broker.settings import Settings
from broker.topology import mailbox as mailbox_topology
from broker.topology import topology_of
from dispatcher.errors import NoMailbox, NoReply, Overdue, ReplyUnreadable, TaskFailed, UnknownTask
from dispatcher.mailbox import Mailbox
from dispatcher.pending import Accepted, End, Pending, PendingCalls
from dispatcher.request import Request
from dispatcher.window import Ended, ends
from protocol.errors import Malformed
from protocol.names import DIRECT_REPLY_TO, mailbox_queue
from protocol.reply import Reply, read_replies

log = logging.getLogger("glassrabbit.dispatcher")

T = TypeVar("T")

#: Keyword arguments of many tasks, from anything that can be looped over.
Arguments = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]

DEFAULT_TIMEOUT_S = 60.0
DEFAULT_WINDOW = 500
#: How often deadlines are looked at: a call ends at most so much after its deadline.
SWEEP_S = 0.05
MARGIN_S = 0.25


class Dispatcher:
    """``async with Dispatcher(settings) as dispatcher``: open on entry, closed on exit.

    Entering raises ``Unreachable`` or ``AccessRefused`` if no broker is had within ``connect_timeout_s``;
    from then on a lost connection is made again, and calls wait for it until their own deadlines.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = settings.limits.messages
        self._link = Link(LinkSettings.of(settings), "dispatcher", self._set_up, tells_first=False)
        self._connection: Connection | None = None
        self._publisher: Publisher | None = None
        self._pending = PendingCalls()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def duplicates(self) -> int:
        """Replies to calls that had ended."""
        return self._pending.duplicates

    @property
    def strangers(self) -> int:
        """Replies to ids that were never asked here."""
        return self._pending.strangers

    @property
    def generation(self) -> int:
        """How many connections there were so far."""
        return self._link.generation

    async def __aenter__(self) -> Dispatcher:
        self._tasks = [asyncio.create_task(self._link.run()), asyncio.create_task(self._sweep())]
        try:
            # A little longer than one attempt may take, so that its own error is the one that is told.
            await self._link.wait_open(self._settings.broker.connect_timeout_s + MARGIN_S)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. Calls that still wait end with ``ConnectionLost``."""
        await self._link.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for task_id in list(self._pending.calls):
            self._pending.end(task_id, ConnectionLost("the dispatcher was closed"))

    async def call(
        self,
        task: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        delay_s: float = 0.0,
        expires_s: float | None = None,
    ) -> Any:
        """Have a task done and return its result.

        Raises ``TaskFailed``; ``NoReply`` at the timeout (outcome unknown); ``UnknownTask`` if no queue is
        bound for it; ``Refused``; and before anything is sent ``NotEncodable`` or ``BadRequest``.
        """
        reply = await self.ask(task, arguments, timeout_s=timeout_s, delay_s=delay_s, expires_s=expires_s)
        if reply.failure is not None:
            raise TaskFailed(reply)
        return reply.result

    async def ask(
        self,
        task: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        delay_s: float = 0.0,
        expires_s: float | None = None,
    ) -> Reply:
        """The same as ``call``, but the whole reply; a task that failed is a reply too."""
        request = self._request(task, arguments, DIRECT_REPLY_TO, delay_s, expires_s)
        end = await self._end_of(request, timeout_s)
        assert isinstance(end, Reply)
        return end

    async def map(
        self,
        task: str,
        arguments: Arguments,
        *,
        window: int = DEFAULT_WINDOW,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> AsyncIterator[Ended]:
        """Have a task done for each of many arguments, at most ``window`` at a time, in constant memory.

        Yields, in order of completion, the number of each input (from 1) with its reply, or with the error
        that it ended with. ``timeout_s`` is for each of them, from when it was sent.
        """
        async for ended in self.map_lines(_numbered(arguments), task, window=window, timeout_s=timeout_s):
            yield ended

    async def map_lines(
        self,
        inputs: AsyncIterator[tuple[int, T]],
        task: str,
        *,
        read: Callable[[T], Mapping[str, Any]] = lambda values: values,  # type: ignore[assignment,return-value]
        window: int = DEFAULT_WINDOW,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> AsyncIterator[Ended]:
        """The same for inputs that bring their own numbers, and that ``read`` turns into arguments.

        An input that ``read`` refuses with an error of ours ends with that error.
        """
        async for ended in ends(
            inputs,
            lambda value: self._request(task, read(value), DIRECT_REPLY_TO),
            lambda request, on_end: self._launch(request, timeout_s, on_end),
            window,
        ):
            yield ended

    async def submit(
        self,
        task: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        mailbox: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        delay_s: float = 0.0,
        expires_s: float | None = None,
    ) -> str:
        """Send a task and return its id once the broker has accepted it; its reply goes to ``mailbox``, if any.

        Raises ``NoMailbox``, and what ``call`` raises but for ``TaskFailed``.
        """
        if mailbox is not None:
            await self._require_mailbox(mailbox)
        reply_to = None if mailbox is None else mailbox_queue(mailbox)
        request = self._request(task, arguments, reply_to, delay_s, expires_s)
        await self._end_of(request, timeout_s)
        return request.task.id

    async def collect(
        self, mailbox: str, *, count: int | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> AsyncIterator[Reply]:
        """Replies from a mailbox: what is there, or, with ``count``, as many within ``timeout_s``.

        A reply is acked when the next one is asked for: one that was not dealt with stays. A reply that came
        twice is given once. Raises ``NoMailbox``, and ``Overdue`` if fewer than ``count`` came.
        """
        deadline_s = time.monotonic() + timeout_s
        box, given = Mailbox(mailbox, self._limits), 0
        while True:
            try:
                assert self._connection is not None
                left = None if count is None else count - given
                # Closed here and now: whoever stops early gets back at once what it did not take.
                async with aclosing(box.read(self._connection, left, deadline_s)) as replies:
                    async for reply in replies:
                        yield reply
                        given += 1
            except ConnectionLost:
                await self._link.wait_open(max(0.0, deadline_s - time.monotonic()))
                continue
            if count is not None and given < count:
                raise Overdue(
                    f"{given} of {count} replies came to {mailbox} within {timeout_s:g} s. Collect again."
                )
            return

    def _request(
        self,
        task: str,
        arguments: Mapping[str, Any] | None,
        reply_to: str | None,
        delay_s: float = 0.0,
        expires_s: float | None = None,
    ) -> Request:
        return Request.build(
            self._settings, task, arguments or {}, reply_to=reply_to, delay_s=delay_s, expires_s=expires_s
        )

    async def _end_of(self, request: Request, timeout_s: float) -> Reply | Accepted:
        ended: asyncio.Future[Reply | Accepted] = asyncio.get_running_loop().create_future()

        def on_end(end: End) -> None:
            if isinstance(end, Reply | Accepted):
                ended.set_result(end)
            else:
                ended.set_exception(end)

        self._launch(request, timeout_s, on_end)
        try:
            return await ended
        finally:
            self._pending.forget(request.task.id)

    def _launch(self, request: Request, timeout_s: float, on_end: Callable[[End], None]) -> None:
        call = Pending(
            request=request,
            timeout_s=timeout_s,
            deadline_s=time.monotonic() + timeout_s,
            on_end=on_end,
            wants_reply=request.task.reply_to == DIRECT_REPLY_TO,
        )
        self._pending.add(call)
        if self._publisher is not None:
            self._publish(self._publisher, call)

    def _publish(self, publisher: Publisher, call: Pending) -> None:
        accepted = publisher.publish(call.request.message(resent=call.sent))
        call.sent += 1
        accepted.add_done_callback(partial(self._on_published, call))

    def _on_published(self, call: Pending, accepted: asyncio.Future[None]) -> None:
        match accepted.exception():
            case None:
                call.accepted = True
                if not call.wants_reply:
                    self._finish(call, Accepted())
            case ConfirmLost():
                return  # The next generation publishes it again, with the same id.
            case Unroutable():
                self._finish(call, UnknownTask(call.request.task.name, self._settings.tasks))
            case error:
                assert isinstance(error, Exception)
                self._finish(call, error)  # type: ignore[arg-type]

    def _finish(self, call: Pending, end: End) -> None:
        if self._pending.calls.get(call.id) is call:
            self._pending.end(call.id, end)

    async def _set_up(self, connection: Connection) -> None:
        """Consume first, then publish; then ask everything again that this channel's predecessor had asked."""
        if self._link.generation == 0:
            await ensure(connection, topology_of(self._settings))
        channel = await connection.channel()
        await channel.consume(DIRECT_REPLY_TO, self._on_reply, auto_ack=True)
        publisher = await Publisher.open(connection, channel)
        channel.closed.add_done_callback(lambda closed: connection.fail(closed.result()))
        self._connection, self._publisher = connection, publisher
        for call in self._pending.to_ask_again():
            self._publish(publisher, call)

    def _on_reply(self, _method: Any, properties: Any, body: bytes) -> None:
        try:
            replies = read_replies(body, self._limits)
        except Malformed as error:
            log.warning("a reply cannot be read: %s", error)
            self._pending.end(
                str(properties.correlation_id), ReplyUnreadable(f"the reply cannot be read: {error}")
            )
            return
        for reply in replies:
            self._pending.end(reply.id, reply)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            for call in self._pending.overdue(time.monotonic()):
                self._finish(call, NoReply(call.id, call.timeout_s, accepted=call.accepted))

    async def _require_mailbox(self, name: str) -> None:
        assert self._connection is not None
        if not await ensure_mailbox(self._connection, mailbox_topology(name)):
            raise NoMailbox(name)


async def _numbered(inputs: Arguments) -> AsyncIterator[tuple[int, Mapping[str, Any]]]:
    line = 0
    if isinstance(inputs, AsyncIterable):
        async for value in inputs:
            line += 1
            yield line, value
    else:
        for line, value in enumerate(inputs, 1):
            yield line, value
