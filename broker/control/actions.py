"""What an operator does by the control stream: it is read first, so that each command knows what holds."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from broker.amqp.connection import Connection
from broker.amqp.publisher import Publisher
from broker.config.settings import Settings
from broker.control.state import State
from broker.control.stream import Entry, follow, now_ms, state_of, write
from broker.dead_letters.text import utc
from broker.errors import Refused
from protocol.control import MOST_IDS, Answer, AnyRecord, Cancel, Inspect, Marker, Pause, Resume, read_answer
from protocol.errors import Malformed
from protocol.names import DIRECT_REPLY_TO, OBITUARIES, new_id

T = TypeVar("T")
#: The keys of a row: of what is paused, of what runs, and of what is cancelled.
HEAD = ("queue", "state", "since", "by")
RUNNING = ("worker", "task", "id", "queue", "attempt", "since", "ran_s", "executor")
CANCELLED = ("record", "tasks", "sent_before", "until")
#: For a worker to answer.
ANSWER_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """What holds of a queue, and how many workers there are."""

    rows: list[dict[str, object]]
    workers: int


def operator(
    settings: Settings, timeout_s: float, work: Callable[[Operator], Coroutine[Any, Any, T]]
) -> Callable[[Connection], Awaitable[T]]:
    """``work`` with an operator who has read the stream, over a connection."""

    async def run(connection: Connection) -> T:
        state = state_of(settings.control)
        seen: dict[str, Marker] = {}

        def on_entry(entry: Entry) -> None:
            state.fold(entry.record, entry.size)
            if isinstance(entry.record, Marker):
                seen[entry.record.by] = entry.record

        publisher = await follow(connection, who(), on_entry, after=None, within_s=timeout_s)
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
        return await self._paused(queue)

    async def resume(self, queue: str) -> Paused:
        if pauses := self._state.pauses_of(queue):
            await self._write(Resume(**self._common(), queue=queue, ends=pauses))
        return await self._paused(queue)

    async def cancel(self, ids: Sequence[str], task: str, before_ms: int, for_s: float) -> list[dict[str, object]]:
        """Cancel tasks by their ids, or by their name those that were sent before. Raises ``Refused`` if too much
        is cancelled already."""
        until = now_ms() + int(1000 * for_s)
        if not self._state.has_room(len(ids)):
            raise Refused("so much is cancelled that the stream cannot keep more. Raise control.retention_bytes.")
        parts = [tuple(ids[at : at + MOST_IDS]) for at in range(0, len(ids), MOST_IDS)] or [()]
        rows: list[dict[str, object]] = []
        for part in parts:
            record = Cancel(**self._common(), ids=part, task=task, before=before_ms, until=until)
            await self._write(record)
            shown = f"{utc(before_ms, 'T')}Z" if task else None
            rows.append(
                {
                    "record": record.id,
                    "tasks": task or len(part),
                    "sent_before": shown,
                    "until": f"{utc(until, 'T')}Z",
                }
            )
        return rows

    async def running(self) -> tuple[list[Answer], list[str]]:
        """What each worker runs, and which did not answer in time. As many are there as consume obituaries."""
        channel = await self._connection.channel()
        _ready, count = await channel.inspect_queue(OBITUARIES)
        answers: dict[str, Answer] = {}
        asked = Inspect(**self._common(), until=now_ms() + int(1000 * ANSWER_S))
        all_there = asyncio.Event()

        def on_answer(_method: object, properties: Any, body: bytes) -> None:
            if properties.correlation_id == asked.id:
                with contextlib.suppress(Malformed):
                    answer = read_answer(body)
                    answers[answer.worker] = answer
            if len(answers) >= count:
                all_there.set()

        await self._publisher.channel.consume(DIRECT_REPLY_TO, on_answer, auto_ack=True)
        await self._write(asked, DIRECT_REPLY_TO)
        if count:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(all_there.wait(), ANSWER_S)
        latest = sorted(self._seen.values(), key=lambda one: one.at, reverse=True)
        silent = [one.by for one in latest if "@" not in one.by and not one.gone and one.by not in answers]
        missing = max(0, count - len(answers))
        return list(answers.values()), (silent + ["a worker that is not steered"] * missing)[:missing]

    async def _write(self, record: AnyRecord, reply_to: str | None = None) -> None:
        await write(self._publisher, record, reply_to=reply_to)
        self._state.fold(record, 0)

    def _common(self) -> dict[str, Any]:
        now = now_ms()
        return {"id": new_id(), "by": who(), "at": now, "written": now}

    async def _paused(self, queue: str) -> Paused:
        """Every worker consumes the obituaries."""
        _ready, workers = await (await self._connection.channel()).inspect_queue(OBITUARIES)
        record = self._state.paused.get(queue)
        row: dict[str, object] = {"queue": queue, "state": "paused" if record else "not paused"}
        row |= {"since": f"{utc(record.at, 'T')}Z" if record else None, "by": record.by if record else None}
        return Paused(rows=[row], workers=workers)
