"""What an operator does by the control stream: it is read first, so that each command knows what holds."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from broker.amqp.connection import Connection
from broker.amqp.counting import count
from broker.amqp.publisher import Publisher
from broker.config.settings import Settings
from broker.console.escaping import plain
from broker.control.state import State
from broker.control.stream import Entry, follow, now_ms, state_of, write
from broker.dead_letters.text import utc
from broker.errors import ConnectionLost, Refused
from protocol.control import (
    MOST_IDS,
    Answer,
    AnyRecord,
    Cancel,
    Do,
    End,
    Inspect,
    Marker,
    Order,
    Pause,
    Resume,
    read_answer,
)
from protocol.errors import Malformed
from protocol.names import DIRECT_REPLY_TO, OBITUARIES, new_id

T = TypeVar("T")
#: The keys of a row: of what is paused, of what runs, and of what is cancelled.
HEAD = ("queue", "state", "since", "by")
RUNNING = ("worker", "task", "id", "queue", "attempt", "since", "ran_s", "executor")
CANCELLED = ("record", "tasks", "sent_before", "until")
ENDS = ("id", "end")
ORDERED = ("worker", "order", "running")
#: Of a task whose end no worker reported.
NOT_SEEN = "not seen"
#: What is no end of a task.
OPEN = (NOT_SEEN, End.UNACKED)
#: For workers to say what they run, and for one to say that it obeys.
ANSWER_S = 0.5
OBEY_S = 2.0
#: For the queue of obituaries.
_COUNT_S = 2.0
#: How far the clock of a worker may be ahead that is asked.
_SKEW_MS = 60_000
#: What is left of a command's time when it stops waiting.
_REST_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """What holds of a queue, and how many workers there are."""

    rows: list[dict[str, object]]
    #: None: nobody knows.
    workers: int | None


def operator(
    settings: Settings, timeout_s: float, work: Callable[[Operator], Coroutine[Any, Any, T]]
) -> Callable[[Connection], Awaitable[T]]:
    """``work`` with an operator who has read the stream, over a connection."""

    async def run(connection: Connection) -> T:
        state = state_of(settings.control)
        seen: dict[str, Marker] = {}

        def on_entry(entry: Entry) -> None:
            if isinstance(entry.record, Marker):
                seen[entry.record.by] = entry.record

        publisher = await follow(connection, who(), state, on_entry, within_s=timeout_s, old_markers=True)
        return await work(Operator(connection, state, publisher, seen))

    return run


def who() -> str:
    """The user, host and number of this process, for people: nothing is decided by it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for it
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{os.getpid()}"


def rows_of(answers: Sequence[Answer], now: int) -> list[dict[str, object]]:
    """What runs, the slowest first, under the keys ``RUNNING``."""
    found = sorted(
        ((one.since, answer.worker, one) for answer in answers for one in answer.tasks), key=lambda row: row[:2]
    )
    return [
        {
            **asdict(one),
            "worker": worker,
            "since": f"{utc(since, 'T')}Z",
            "ran_s": round(max(0, now - since) / 1000, 1),
        }
        for since, worker, one in found
    ]


def _parts(ids: Sequence[str]) -> list[tuple[str, ...]]:
    """As many as a record holds."""
    return [tuple(ids[at : at + MOST_IDS]) for at in range(0, len(ids), MOST_IDS)]


class Operator:
    """Says what holds from now on, and returns once the broker has stored it."""

    def __init__(
        self, connection: Connection, state: State, publisher: Publisher, seen: Mapping[str, Marker]
    ) -> None:
        """``seen``: the latest marker of each who left one."""
        self._seen = seen
        self._connection = connection
        self._state = state
        self._publisher = publisher

    async def pause(self, queue: str) -> Paused:
        """A queue that is paused stays so, by the record that paused it."""
        if queue not in self._state.paused:
            await self._write(Pause(**self._common(), queue=queue))
        return Paused(rows=[self._row(queue)], workers=await self._workers())

    async def resume(self, queue: str) -> list[dict[str, object]]:
        if pauses := self._state.pauses_of(queue):
            await self._write(Resume(**self._common(), queue=queue, ends=pauses))
        return [self._row(queue)]

    async def cancel(self, ids: Sequence[str], task: str, before_ms: int, for_s: float) -> list[dict[str, object]]:
        """Cancel tasks by their ids, or by their name those that were sent before. Raises ``Refused`` if too much
        is cancelled already."""
        until = now_ms() + int(1000 * for_s)
        if not self._state.has_room(len(ids)):
            raise Refused("so much is cancelled that the stream cannot keep more. Raise control.retention_bytes.")
        shown = {"sent_before": f"{utc(before_ms, 'T')}Z" if task else None, "until": f"{utc(until, 'T')}Z"}
        rows: list[dict[str, object]] = []
        for part in _parts(ids) or [()]:
            record = Cancel(**self._common(), ids=part, task=task, before=before_ms, until=until)
            await self._write(record)
            rows.append({"record": record.id, "tasks": task or len(part), **shown})
        return rows

    async def ends_of(self, ids: Sequence[str]) -> list[dict[str, object]]:
        """What becomes of tasks, as soon as that is known of all; or what is known when the time is over."""
        ends: dict[str, str] = dict.fromkeys(ids, NOT_SEEN)
        within_s = (self._connection.deadline_s or 0) - time.monotonic() - _REST_S
        until = now_ms() + int(1000 * within_s) + _SKEW_MS
        asked = [Inspect(**self._common(), ids=part, until=until) for part in _parts(ids)]

        def heard(answer: Answer) -> bool:
            # A worker that still has it may have been frozen while another one ended it.
            ends.update((task, end) for task, end in answer.ends.items() if ends.get(task) in OPEN)
            return not {*OPEN}.intersection(ends.values())

        await self._ask(asked, within_s, heard)
        return [{"id": task, "end": str(end)} for task, end in ends.items()]

    async def order(self, worker: str, do: Do, for_s: float = 0.0) -> list[dict[str, object]]:
        """Have one worker do something; nothing if it does not answer."""
        until = now_ms() + int(1000 * for_s) if for_s else 0
        answers: list[Answer] = []

        def heard(answer: Answer) -> bool:
            answers.append(answer)
            return True

        await self._ask([Order(**self._common(), worker=worker, do=do, until=until)], OBEY_S, heard)
        return [{"worker": worker, "order": str(do), "running": len(one.tasks) + one.more} for one in answers]

    async def running(self) -> tuple[list[Answer], list[str]]:
        """What each worker runs, and what is unknown of that, in words. As many workers are there as consume
        obituaries."""
        known, answers = 0, dict[str, Answer]()
        # Who may not see it, and a connection that is gone, find out below.
        with contextlib.suppress(ConnectionLost):
            _ready, known = await (await self._connection.channel()).inspect_queue(OBITUARIES)

        def heard(answer: Answer) -> bool:
            answers[answer.worker] = answer
            return len(answers) >= known > 0

        await self._ask([Inspect(**self._common(), until=now_ms() + _SKEW_MS)], ANSWER_S, heard)
        workers = known or await self._workers()
        latest = sorted(self._seen.values(), key=lambda one: one.at, reverse=True)
        silent = [one.by for one in latest if "@" not in one.by and not one.gone and one.by not in answers]
        if workers is None:
            unknown = [f"how many workers there are is unknown: {OBITUARIES} does not say"]
        else:
            missing = max(0, workers - len(answers))
            missed = (silent + ["a worker that is not steered"] * missing)[:missing]
            unknown = [f"no answer from {plain(name)}: what it runs is unknown" for name in missed]
        return [*answers.values()], unknown

    async def _ask(self, records: Sequence[AnyRecord], within_s: float, heard: Callable[[Answer], bool]) -> None:
        """Hear what workers answer until that is enough, or the time is over."""
        asked, enough = {record.id for record in records}, asyncio.Event()

        def on_answer(_method: object, properties: Any, body: bytes) -> None:
            if properties.correlation_id in asked:
                with contextlib.suppress(Malformed):
                    if heard(read_answer(body)):
                        enough.set()

        await self._publisher.channel.consume(DIRECT_REPLY_TO, on_answer, auto_ack=True)
        for record in records:
            await self._write(record, DIRECT_REPLY_TO)
        waiting, closed = asyncio.create_task(enough.wait()), self._publisher.channel.closed
        ends: set[asyncio.Future[Any]] = {waiting, closed}
        await asyncio.wait(ends, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if closed.done():
            raise closed.result()

    async def _write(self, record: AnyRecord, reply_to: str | None = None) -> None:
        await write(self._publisher, record, reply_to=reply_to)
        self._state.fold(record, 0)

    def _common(self) -> dict[str, Any]:
        now = now_ms()
        return {"id": new_id(), "by": who(), "at": now, "written": now}

    def _row(self, queue: str) -> dict[str, object]:
        record = self._state.paused.get(queue)
        row: dict[str, object] = {"queue": queue, "state": "paused" if record else "not paused"}
        return row | {"since": f"{utc(record.at, 'T')}Z" if record else None, "by": record.by if record else None}

    async def _workers(self) -> int | None:
        """As many as consume the obituaries, which each worker does; None if nobody knows. The last question of a
        command, since a queue without a leader ends the connection."""
        with contextlib.suppress(TimeoutError, ConnectionLost):
            async with asyncio.timeout(_COUNT_S):
                _ready, workers = await count(await self._connection.channel(), OBITUARIES)
                return workers
        return None
