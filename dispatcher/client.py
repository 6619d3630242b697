"""The dispatcher: what a program calls. ``dispatcher.asking`` does the asking."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from broker.amqp.connection import Connection
from broker.amqp.link import between_attempts
from broker.amqp.once import opened
from broker.config.settings import Settings
from broker.errors import ConnectionLost, Unreachable
from broker.topology.declare import ensure_mailbox
from broker.topology.model import mailbox as mailbox_topology
from dispatcher.asking import Asking
from dispatcher.errors import NoMailbox, Overdue, TaskFailed
from dispatcher.mailbox import Mailbox
from dispatcher.metrics import Metrics, metrics_of
from dispatcher.pace import Batch, pace
from dispatcher.pending import Accepted, End
from dispatcher.request import Request, packing
from dispatcher.window import BATCH_BYTES, Ended, chunks_of_ends, numbered, one_by_one
from protocol.names import DIRECT_REPLY_TO, mailbox_queue, new_ids
from protocol.reply import Reply

T = TypeVar("T")

#: Keyword arguments of many tasks, from anything that can be looped over.
Arguments = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]

DEFAULT_TIMEOUT_S = 60.0


class Dispatcher:
    """``async with Dispatcher(settings) as dispatcher``: open on entry, closed on exit; or ``open`` and ``close``.

    Opening raises ``Unreachable`` or ``AccessRefused`` if no host is had within ``connect_timeout_s`` each; from
    then on a lost connection is made again, and calls wait for it until their own deadlines. Every call ends by
    its deadline, whatever the broker does; closing takes two seconds at most.

    It is open in one process and on one event loop. Anywhere else, before and afterwards a call raises ``NotOpen``
    at once; ``open`` opens it again there. The connection of a process is not touched by its forks.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = settings.limits.messages
        self._asking = Asking(settings)
        self._others = weakref.WeakSet[Connection]()

    @property
    def duplicates(self) -> int:
        """Replies to calls that had ended."""
        return self._asking.pending.duplicates

    @property
    def strangers(self) -> int:
        """Replies to ids that were never asked here."""
        return self._asking.pending.strangers

    @property
    def metrics(self) -> Metrics:
        """What it has counted so far."""
        return metrics_of(self._asking._link, self._asking.pending)

    @property
    def generation(self) -> int:
        """How many connections there were so far."""
        return self._asking.generation

    async def __aenter__(self) -> Dispatcher:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self, within_s: float | None = None) -> None:
        """Connect, unless it is open here already; what it has counted begins at 0.

        ``within_s``: in all, also for a broker that is starting, which is waited for.
        """
        if self._asking.problem() is not None:
            self._asking = Asking(self._settings)
            await self._asking.open(within_s)

    def begin(self) -> None:
        """Open without waiting: calls wait for the connection, until their own deadlines."""
        self._asking = Asking(self._settings)
        self._asking.begin()

    async def close(self) -> None:
        """Close the connection, if it is open here. Calls that still wait end with ``ConnectionLost``."""
        await self._asking.close()
        for connection in self._others:
            connection.fail(ConnectionLost("the dispatcher was closed"))

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
        bound for it; ``Refused``, ``AccessRefused``, ``TopologyDrift`` or ``Unsendable`` if the broker does not
        take it; and before anything is sent ``NotEncodable``, ``BadRequest`` or ``NotOpen``.
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
        """Have a task done and return its whole reply, which a task that failed has, too. Raises what ``call``
        raises but for ``TaskFailed``."""
        request = self._request(task, arguments, DIRECT_REPLY_TO, delay_s, expires_s)
        end = await self._end_of(request, timeout_s)
        assert isinstance(end, Reply)
        return end

    def map(
        self,
        task: str,
        arguments: Arguments,
        *,
        window: int | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        batch: Batch = None,
    ) -> AsyncIterator[Ended]:
        """Have a task done for each of many arguments, at most ``window`` at a time, in constant memory.

        Yields, in order of completion, the number of each input (from 1) with its reply, or with the error
        that it ended with. ``timeout_s`` is for each of them, from when it was sent.

        ``batch``: tasks that travel in one message, or as many as workers do in about 0.1 s (``"auto"``), which
        is for tasks of milliseconds and less. All else stays as it is for each of them. The window is 500, larger
        with batches. Raises ``BadRequest`` for a batch that workers would refuse.
        """
        chunks = self.map_chunks(numbered(arguments), task, window=window, timeout_s=timeout_s, batch=batch)
        return one_by_one(chunks)

    def map_chunks(
        self,
        inputs: AsyncIterator[tuple[int, T]],
        task: str,
        *,
        read: Callable[[T], Mapping[str, Any]] = lambda values: values,  # type: ignore[assignment,return-value]
        window: int | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        batch: Batch = None,
    ) -> AsyncGenerator[list[Ended], None]:
        """``map`` for inputs that bring their own numbers, and that ``read`` turns into arguments; the ends come
        in lists, each of what there is.

        An input that ``read`` refuses with an error of ours ends with that error.
        """
        return chunks_of_ends(
            inputs,
            packing(self._settings, task, read),
            new_ids(),
            lambda tasks, on_end: self._asking.launch(
                Request.of_many(task, tasks), timeout_s, on_end, patient=True
            ),
            self._asking.pending.forget,
            pace(batch, window, self._limits),
            min(BATCH_BYTES, self._limits.body_bytes // 2),
        )

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
        deadline_s = time.monotonic() + timeout_s
        if mailbox is not None:
            await self._require_mailbox(mailbox, deadline_s)
        reply_to = None if mailbox is None else mailbox_queue(mailbox)
        request = self._request(task, arguments, reply_to, delay_s, expires_s)
        [task_id] = request.tasks
        await self._end_of(request, max(0.1, deadline_s - time.monotonic()))
        return task_id

    async def collect(
        self, mailbox: str, *, count: int | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> AsyncIterator[Reply]:
        """Replies from a mailbox: what is there, or, with ``count``, as many within ``timeout_s``.

        A reply is acked when the next one is asked for: one that was not dealt with stays. A reply that came
        twice is given once. Raises ``NoMailbox``, and ``Overdue`` if fewer than ``count`` came, or if the broker
        did not say what is there; a mailbox without a leader is read as soon as it has one.
        """
        deadline_s, box, given = time.monotonic() + timeout_s, Mailbox(mailbox, self._limits), 0
        trouble, backoff = None, between_attempts()
        # A connection of its own, since a mailbox without a leader ends it.
        while True:
            if (problem := self._asking.problem()) is not None:
                raise problem
            left = None if count is None else count - given
            try:
                async with opened(self._settings, "dispatcher collect", deadline_s) as connection:
                    self._others.add(connection)
                    # Closed here and now if the caller leaves: what it did not take goes back at once.
                    async with aclosing(box.read(connection, left, deadline_s)) as replies:
                        async for reply in replies:
                            yield reply
                            given += 1
                if count is None or given >= count:
                    return
                break
            except (ConnectionLost, Unreachable) as error:
                trouble = error
            wait_s = backoff.next_s()
            if time.monotonic() + wait_s > deadline_s:
                break
            await asyncio.sleep(wait_s)
        if isinstance(trouble, Unreachable):
            raise trouble
        of, why = "" if count is None else f" of {count}", f": {trouble}" if trouble else "."
        raise Overdue(
            f"{given}{of} replies came to {mailbox} within {round(timeout_s, 1):g} s{why} Collect again."
        )

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

        def on_end(ends: Mapping[str, End]) -> None:
            if ended.done():
                return  # The caller has given up in this turn of the loop.
            [end] = ends.values()
            if isinstance(end, Reply | Accepted):
                ended.set_result(end)
            else:
                ended.set_exception(end)

        [task_id] = request.tasks
        self._asking.launch(request, timeout_s, on_end)
        try:
            return await ended
        finally:
            self._asking.pending.forget(task_id)

    async def _require_mailbox(self, name: str, deadline_s: float) -> None:
        while True:
            connection = await self._asking.connection(max(0.1, deadline_s - time.monotonic()))
            try:
                async with asyncio.timeout(max(0.1, deadline_s - time.monotonic())):
                    is_there = await ensure_mailbox(connection, mailbox_topology(name))
            except TimeoutError:
                raise Overdue(
                    f"the broker did not say in time whether mailbox {name} is there; nothing was sent. Try again."
                ) from None
            except ConnectionLost:
                if connection.is_open or time.monotonic() > deadline_s:
                    raise
                continue
            if not is_there:
                raise NoMailbox(name)
            return
