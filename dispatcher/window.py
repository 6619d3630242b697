"""A bounded number of tasks in progress, from a stream of inputs of any length."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from dispatcher.pace import Pace
from dispatcher.pending import End, OnEnd
from protocol.errors import GlassrabbitError
from protocol.reply import Reply

T = TypeVar("T")

#: Launches tasks in one message, the packed arguments of each by its id, and calls back with how they ended.
Launch = Callable[[dict[str, bytes], OnEnd], None]

#: How long a batch waits for the inputs that would fill it.
LINGER_S = 0.002
#: A batch holds no more bytes than this: it should be far below what a message may hold, and soon be on its way.
BATCH_BYTES = 256 * 1024
#: What a task takes in a batch beside its arguments.
_ENTRY_BYTES = 35


@dataclass(slots=True)
class Ended:
    """The end of one input. ``id`` is empty if no task was made of it."""

    line: int
    id: str
    end: End


@dataclass(slots=True, eq=False)
class _Sent:
    """What was launched together: one message, unless some of it has to be asked again."""

    #: By the id of each task that has not ended, the number of its input.
    lines: dict[str, int]
    tasks: int
    answered: int = 0
    ran_ms: int = 0
    is_in_progress: bool = True


class Window(Generic[T]):
    """The tasks in progress for one stream of inputs: see ``chunks_of_ends``."""

    def __init__(
        self, pack: Callable[[T], bytes], ids: Iterator[str], launch: Launch, pace: Pace, batch_bytes: int
    ) -> None:
        self._pack = pack
        self._ids = ids
        self._launch = launch
        self._pace = pace
        self._batch_bytes = batch_bytes
        self._loop = asyncio.get_running_loop()
        self._ended: list[Ended] = []
        self._has_ended = asyncio.Event()
        self._has_changed = asyncio.Event()
        self._in_progress: set[_Sent] = set()
        #: Inputs that were taken, and whose ends were not.
        self._held = 0
        self._messages = 0
        #: What is gathered for the next message: packed arguments and numbers of inputs, by the id of each task.
        self._tasks: dict[str, bytes] = {}
        self._lines: dict[str, int] = {}
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    async def ends(self, inputs: AsyncIterator[tuple[int, T]]) -> AsyncGenerator[list[Ended], None]:
        feeding = asyncio.create_task(self._feed(inputs))
        feeding.add_done_callback(self._on_fed)
        try:
            while self._in_progress or self._ended or self._tasks or not feeding.done():
                await self._has_ended.wait()
                self._has_ended.clear()
                if self._ended:
                    chunk, self._ended = self._ended, []
                    self._held -= len(chunk)
                    self._has_changed.set()
                    yield chunk
            await feeding
        finally:
            self._tasks = {}
            feeding.cancel()

    def in_progress(self) -> list[str]:
        """The ids of all that was launched and has not ended."""
        return [task_id for sent in self._in_progress for task_id in sent.lines]

    async def _feed(self, inputs: AsyncIterator[tuple[int, T]]) -> None:
        async for line, value in inputs:
            self._held += 1
            try:
                body = self._pack(value)
            except GlassrabbitError as error:
                self._give([Ended(line, "", error)])
            else:
                self._gather(line, body)
                if not self._tasks and self._pace.size > 1:
                    # A batch was sent. A large window is not filled in one go: the loop has other things to do.
                    await asyncio.sleep(0)
            while not self._has_room():
                self._has_changed.clear()
                await self._has_changed.wait()

    def _on_fed(self, feeding: asyncio.Task[None]) -> None:
        if not feeding.cancelled():
            self._send()
        self._has_ended.set()

    def _has_room(self) -> bool:
        if self._tasks:
            return self._held < self._pace.window
        # A batch is begun only where there is room for all of it, so that batches do not come to be small.
        return self._held + self._pace.size <= self._pace.window and self._messages < self._pace.messages

    def _gather(self, line: int, body: bytes) -> None:
        size = len(body) + _ENTRY_BYTES
        if self._bytes + size > self._batch_bytes:
            self._send()
        task_id = next(self._ids)
        self._tasks[task_id] = body
        self._lines[task_id] = line
        self._bytes += size
        if len(self._tasks) >= self._pace.size:
            self._send()
        elif self._timer is None:
            self._timer = self._loop.call_later(LINGER_S, self._send)

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._tasks:
            return
        tasks, sent = self._tasks, _Sent(self._lines, len(self._tasks))
        self._tasks, self._lines, self._bytes = {}, {}, 0
        self._in_progress.add(sent)
        self._messages += 1
        self._launch(tasks, partial(self._on_end, sent))

    def _on_end(self, sent: _Sent, ends: Mapping[str, End]) -> None:
        lines = sent.lines
        ended = [Ended(lines.pop(task_id), task_id, end) for task_id, end in ends.items()]
        if not lines:
            self._in_progress.discard(sent)
        if sent.is_in_progress:
            self._observe(sent, ends.values())
        self._give(ended)

    def _observe(self, sent: _Sent, ends: Iterable[End]) -> None:
        """A message counts as answered when half of its tasks are: the rest may have left it for a retry."""
        ran_ms = [end.run.ran_ms for end in ends if isinstance(end, Reply)]
        sent.answered += len(ran_ms)
        sent.ran_ms += sum(ran_ms)
        if 2 * sent.answered < sent.tasks and sent.lines:
            return
        sent.is_in_progress = False
        self._messages -= 1
        self._has_changed.set()
        if sent.answered:
            self._pace.answered(sent.tasks, sent.ran_ms / sent.answered)

    def _give(self, ended: list[Ended]) -> None:
        if not self._ended:
            self._has_ended.set()
        self._ended += ended


async def chunks_of_ends(
    inputs: AsyncIterator[tuple[int, T]],
    pack: Callable[[T], bytes],
    ids: Iterator[str],
    launch: Launch,
    forget: Callable[[str], None],
    pace: Pace,
    batch_bytes: int = BATCH_BYTES,
) -> AsyncGenerator[list[Ended], None]:
    """Launch a task for each numbered input, as many as the pace allows, and yield their ends as they come: as
    many at once as there are. ``pack`` makes an input into arguments, ``ids`` has an id for each task.

    An input is taken only when there is room for it, so memory does not grow with their number. An input that
    ``pack`` refuses ends with that error and the others are not disturbed. A slow stream of inputs holds up
    neither the ends of those in progress nor, for more than 2 ms, the rest of a batch; if it fails, they
    still end before its error is raised. A caller that leaves early gets no further end; the rest is forgotten.
    """
    window = Window(pack, ids, launch, pace, batch_bytes)
    chunks = window.ends(inputs)
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        await chunks.aclose()
        for task_id in window.in_progress():
            forget(task_id)


async def one_by_one(chunks: AsyncGenerator[list[Ended], None]) -> AsyncGenerator[Ended, None]:
    """What the chunks hold. They are closed together with this."""
    try:
        async for chunk in chunks:
            for ended in chunk:
                yield ended
    finally:
        await chunks.aclose()


async def numbered(inputs: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[tuple[int, T]]:
    """The inputs with their numbers, from 1."""
    line = 0
    if isinstance(inputs, AsyncIterable):
        async for value in inputs:
            line += 1
            yield line, value
    else:
        for line, value in enumerate(inputs, 1):
            yield line, value
