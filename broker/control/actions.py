"""What an operator does by the control stream: it is read first, so that each command knows what holds."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from broker.amqp.connection import Connection
from broker.amqp.publisher import Publisher
from broker.config.settings import Settings
from broker.control.state import State
from broker.control.stream import follow, now_ms, state_of, write
from broker.dead_letters.text import utc
from protocol.control import AnyRecord, Pause, Resume
from protocol.names import OBITUARIES, new_id

T = TypeVar("T")
#: The keys of a row.
HEAD = ("queue", "state", "since", "by")


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
        publisher = await follow(
            connection,
            who(),
            lambda entry: state.fold(entry.record, entry.size),
            after=None,
            within_s=timeout_s,
        )
        return await work(Operator(connection, state, publisher))

    return run


def who() -> str:
    """Whoever runs this process, in words: for people, and believed by nobody."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for it
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{os.getpid()}"


class Operator:
    """Says what holds from now on, and returns once the broker has stored it."""

    def __init__(self, connection: Connection, state: State, publisher: Publisher) -> None:
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

    async def _write(self, record: AnyRecord) -> None:
        await write(self._publisher, record)
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
