"""Ask the workers for what becomes of tasks, and put together what they report, until all of it is over."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

from broker.amqp.connection import Connection
from broker.amqp.publisher import Publisher
from broker.config.settings import Settings
from broker.control.actions import ANSWER_S, who
from broker.control.stream import now_ms, write
from broker.errors import ACCESS_REFUSED, NOT_FOUND, ConnectionLost, NoExchange, NoStream
from broker.watch.life import Lives, Step, counted, published_at
from broker.watch.tap import tap
from protocol.control import MOST_IDS, Watch
from protocol.errors import Malformed
from protocol.names import DIRECT_REPLY_TO, OBITUARIES, TASKS, new_id
from protocol.watching import Event, What, read_event

#: Before the time of a command is over, so that it ends by itself.
_SPARE_S = 0.05
#: How much later a report may come than a tap's copy, or the other way round.
_HOLD_S = 0.2


class Watcher:
    """Life: ``run``, once."""

    def __init__(
        self,
        settings: Settings,
        put: Callable[[Step], Awaitable[None]],
        say: Callable[[str], None],
        *,
        ids: tuple[str, ...],
        task: str,
        most: int,
        tap: bool,
    ) -> None:
        """``put`` gets each step; ``say`` what is to be known beside them. Followed are these ``ids``, or ``most``
        that come next (0: as many as there may be), of the name ``task`` if there is one."""
        self._settings = settings
        self._ids = ids
        self._task = task
        self._most = len(ids) or most or MOST_IDS
        self._is_counted = bool(most)
        self._tap = tap
        self._put = put
        self._say = say
        self._lives = Lives()
        self._records: set[str] = set()
        #: By each worker: the number of its latest report.
        self._numbers: dict[str, int] = {}
        self._followed: dict[str, None] = dict.fromkeys(ids)
        self._until = 0
        self._news = asyncio.Event()
        #: Ids that the other workers are to follow as well.
        self._new: list[str] = []
        #: With a tap, what is known of a message comes two ways: what was reported, in the order of its times.
        self._held: list[tuple[int, int, Event, bool | None]] = []
        self._order = itertools.count()
        self._latest: dict[str, int] = {}
        self._to_count: list[Event] = []
        self._steps: list[Step] = []

    @property
    def is_over(self) -> bool:
        return len(self._followed) >= self._most and self._lives.over >= self._followed.keys()

    async def run(self, connection: Connection) -> bool:
        """Follow them until all are over, or the time of the connection is; whether they are: those that came."""
        publisher, left_s = await Publisher.open(connection), connection.deadline_s - time.monotonic()
        self._until = now_ms() + int(1000 * left_s)
        await publisher.channel.consume(DIRECT_REPLY_TO, self._on_report, auto_ack=True)
        workers = (await _count(connection, OBITUARIES) or (0, None))[1]
        if self._tap:
            await self._tapped(connection)
        await self._ask(publisher, self._ids, self._task, 0 if self._ids else self._most)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                while workers is None or len(self._numbers) < workers:
                    await self._next()
        known = "an unknown number of" if workers is None else workers
        self._say(f"watching: reports come from {len(self._numbers)} of {known} workers")
        until_s = asyncio.get_running_loop().time() + connection.deadline_s - time.monotonic() - _SPARE_S
        with contextlib.suppress(TimeoutError):
            while not self.is_over:
                async with asyncio.timeout_at(until_s):
                    await self._next()
                new, self._new = self._new, []
                if new and self._is_counted:
                    await self._ask(publisher, tuple(new), "", 0)
                await self._count(connection)
                await self._put_steps()
        await self._put_steps()
        return bool(self._followed) and self._lives.over >= self._followed.keys()

    async def _ask(self, publisher: Publisher, ids: tuple[str, ...], task: str, more: int) -> None:
        now = now_ms()
        record = Watch(
            id=new_id(), by=who(), at=now, written=now, ids=ids, task=task, next=more, until=self._until
        )
        self._records.add(record.id)
        try:
            await write(publisher, record, reply_to=DIRECT_REPLY_TO)
        except NoExchange as error:
            raise NoStream(str(error)) from error

    async def _next(self) -> None:
        await self._news.wait()
        self._news.clear()

    async def _put_steps(self) -> None:
        steps, self._steps = self._steps, []
        for step in steps:
            await self._put(step)

    async def _tapped(self, connection: Connection) -> None:
        tasks = [self._task] if self._task else list(self._settings.tasks)
        try:
            await tap(connection, self._settings, tasks, self._hold)
        except ConnectionLost as error:
            if error.code not in (ACCESS_REFUSED, NOT_FOUND):
                raise
            self._say(f"note: no tap: {error}.")

    async def _count(self, connection: Connection) -> None:
        events, self._to_count = self._to_count, []
        for event in events:
            queue = self._settings.tasks[event.task].queue
            if found := await _count(connection, queue):
                self._steps.append(counted(event, queue, *found))

    def _on_report(self, _method: object, properties: Any, body: bytes) -> None:
        if properties.correlation_id not in self._records:
            return
        with contextlib.suppress(Malformed):
            event = read_event(body)
            before = self._numbers.get(event.worker, event.number - 1)
            self._numbers[event.worker] = event.number
            if event.number > before + 1:
                self._say(f"note: {event.number - before - 1} reports of {event.worker} are missing.")
            if event.what is What.WATCHES and event.text:
                self._say(f"note: {event.worker} does not report: {event.text}.")
            if event.ids and self._tap:
                self._hold(event, None)
            elif event.ids:
                self._fold(event, None)
        self._news.set()

    def _hold(self, event: Event, is_moved: bool | None) -> None:
        """``is_moved``: of what the tap saw."""
        at = event.at if is_moved is None else min(event.at, published_at(event) or event.at)
        # What one worker reports stays in its order.
        self._latest[event.worker] = at = max(at, self._latest.get(event.worker, 0) if event.worker else 0)
        heapq.heappush(self._held, (at, next(self._order), event, is_moved))
        asyncio.get_running_loop().call_later(_HOLD_S, self._release)

    def _release(self) -> None:
        _, _, event, is_moved = heapq.heappop(self._held)
        self._fold(event, is_moved)
        self._news.set()

    def _fold(self, event: Event, is_moved: bool | None) -> None:
        for task_id in event.ids:
            if task_id not in self._followed and len(self._followed) < self._most:
                self._followed[task_id] = None
                self._new.append(task_id)
        ids = tuple(one for one in event.ids if one in self._followed)
        if not ids:
            return
        about = event.about(ids)
        if is_moved is None:
            self._steps += self._lives.fold(about)
            return
        self._steps += self._lives.tapped(about, is_moved=is_moved)
        is_taken = any(one.what is What.DELIVERED and ids[0] in one.ids for _, _, one, _ in self._held)
        if event.exchange == TASKS and not is_taken:
            self._to_count.append(about)


async def _count(connection: Connection, queue: str) -> tuple[int, int] | None:
    """Its ready messages and its consumers. None if there is no saying."""
    try:
        return await (await connection.channel()).inspect_queue(queue)
    except ConnectionLost as error:
        if error.code not in (ACCESS_REFUSED, NOT_FOUND):
            raise
        return None
