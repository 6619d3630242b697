"""Ask the workers for what becomes of tasks, and put together what they report, until all of it is over."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from broker.amqp.connection import Connection
from broker.amqp.publisher import Publisher
from broker.control.actions import ANSWER_S, who
from broker.control.stream import now_ms, write
from broker.errors import ACCESS_REFUSED, NOT_FOUND, ConnectionLost, NoExchange, NoStream
from broker.watch.life import Lives, Step
from protocol.control import MOST_IDS, Watch
from protocol.errors import Malformed
from protocol.names import DIRECT_REPLY_TO, OBITUARIES, new_id
from protocol.watching import Event, What, read_event

#: Before the time of a command is over, so that it ends by itself.
_SPARE_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """These ids; or the next ones, of one name if it is given. ``next`` 0: as many as there may be."""

    ids: tuple[str, ...] = ()
    task: str = ""
    next: int = 0

    @property
    def most(self) -> int:
        """Of how many the lives are followed."""
        return len(self.ids) or self.next or MOST_IDS


class Watcher:
    """Life: ``run``, once."""

    def __init__(self, asked: Asked, put: Callable[[Step], None], say: Callable[[str], None]) -> None:
        """``put`` gets each step; ``say`` what is to be known beside them."""
        self._asked = asked
        self._put = put
        self._say = say
        self._lives = Lives()
        self._records: set[str] = set()
        #: By each worker: the number of its latest report.
        self._numbers: dict[str, int] = {}
        self._followed: dict[str, None] = dict.fromkeys(asked.ids)
        self._until = 0
        self._news = asyncio.Event()
        #: Ids that the other workers are to follow as well.
        self._new: list[str] = []

    @property
    def is_over(self) -> bool:
        return len(self._followed) >= self._asked.most and self._lives.over >= self._followed.keys()

    async def run(self, connection: Connection) -> bool:
        """Follow them until all are over, or the time of the connection is; whether they are: those that came."""
        publisher, left_s = await Publisher.open(connection), connection.deadline_s - time.monotonic()
        self._until = now_ms() + int(1000 * left_s)
        await publisher.channel.consume(DIRECT_REPLY_TO, self._on_report, auto_ack=True)
        workers = await _workers(connection)
        more = 0 if self._asked.ids else self._asked.most
        await self._ask(publisher, self._asked.ids, self._asked.task, more)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                while workers is None or len(self._numbers) < workers:
                    await self._next()
        missing = max(0, (workers or 0) - len(self._numbers))
        unseen = "" if not missing else f", {missing} do not: what they do is unknown"
        self._say(f"watching: {len(self._numbers)} workers report{unseen}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(connection.deadline_s - time.monotonic() - _SPARE_S):
                while not self.is_over:
                    await self._next()
                    new, self._new = self._new, []
                    if new and self._asked.next:
                        await self._ask(publisher, tuple(new), "", 0)
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

    def _on_report(self, _method: object, properties: Any, body: bytes) -> None:
        if properties.correlation_id in self._records:
            with contextlib.suppress(Malformed):
                self._fold(read_event(body))
            self._news.set()

    def _fold(self, event: Event) -> None:
        before = self._numbers.get(event.worker, event.number - 1)
        self._numbers[event.worker] = event.number
        if event.number > before + 1:
            self._say(f"note: {event.number - before - 1} reports of {event.worker} are missing.")
        if event.what is What.WATCHES:
            if event.text:
                self._say(f"note: {event.worker} does not report: {event.text}.")
            return
        for task_id in event.ids:
            if task_id not in self._followed and len(self._followed) < self._asked.most:
                self._followed[task_id] = None
                self._new.append(task_id)
        if ids := tuple(one for one in event.ids if one in self._followed):
            for step in self._lives.fold(event.about(ids)):
                self._put(step)


async def _workers(connection: Connection) -> int | None:
    """How many there are: each consumes the obituaries. None if there is no saying."""
    try:
        _ready, count = await (await connection.channel()).inspect_queue(OBITUARIES)
    except ConnectionLost as error:
        if error.code not in (ACCESS_REFUSED, NOT_FOUND):
            raise
        return None
    return count
