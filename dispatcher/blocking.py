"""The dispatcher for code without an event loop: scripts, tests, notebooks.

A thread of its own runs the loop, so heartbeats and reconnects go on between calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from itertools import islice
from typing import Any, Concatenate, ParamSpec, TypeVar

from broker.config.settings import Settings
from broker.errors import ConnectionLost
from dispatcher.client import DEFAULT_TIMEOUT_S, Dispatcher
from dispatcher.errors import NotOpen
from dispatcher.pace import Batch
from dispatcher.window import Ended, numbered
from protocol.reply import Reply

T = TypeVar("T")
P = ParamSpec("P")

#: Inputs of a map in batches that are taken before there is room for them: to take each alone would be slow.
AHEAD = 1000


def _waiting(
    method: Callable[Concatenate[Dispatcher, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[BlockingDispatcher, P], T]:
    """A method of ``Dispatcher`` as one that waits for its end."""

    @functools.wraps(method)
    def call(self: BlockingDispatcher, /, *arguments: P.args, **options: P.kwargs) -> T:
        return self._here().do(lambda ours: method(ours, *arguments, **options))

    return call


class BlockingDispatcher:
    """``with BlockingDispatcher(settings) as dispatcher``, or ``open`` and ``close``: the methods of
    ``Dispatcher``, which say what they raise, as plain calls. May be used from several threads at once.

    A fork of the process that opened it opens it again by its first call, which waits for that until its deadline.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._life: _Life | None = None
        #: By process: a fork may not wait for a thread that it does not have.
        self._opening: dict[int, threading.Lock] = {}

    def __enter__(self) -> BlockingDispatcher:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Connect, unless it is open."""
        if self._life is None or not self._life.is_here:
            life = _Life(self._settings)
            life.open()
            self._life = life

    def close(self) -> None:
        """Close the connection, if it is open. Calls that still wait end with ``ConnectionLost``."""
        life, self._life = self._life, None
        if life is not None and life.is_here:
            life.close()

    call = _waiting(Dispatcher.call)
    ask = _waiting(Dispatcher.ask)
    submit = _waiting(Dispatcher.submit)

    def map(
        self,
        task: str,
        arguments: Iterable[Mapping[str, Any]],
        *,
        window: int | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        batch: Batch = None,
    ) -> Iterator[Ended]:
        life = self._here()
        inputs = numbered(_in_a_thread(arguments, 1 if batch is None else AHEAD))
        chunks = life.dispatcher.map_chunks(inputs, task, window=window, timeout_s=timeout_s, batch=batch)
        return _each(life.iterate(chunks))

    def collect(
        self, mailbox: str, *, count: int | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> Iterator[Reply]:
        life = self._here()
        return life.iterate(life.dispatcher.collect(mailbox, count=count, timeout_s=timeout_s))

    def _here(self) -> _Life:
        life = self._life
        if life is None:
            raise NotOpen
        if not life.is_here:
            with self._opening.setdefault(os.getpid(), threading.Lock()):
                # Another thread may have been faster.
                if self._life is life:
                    self._life = _Life(self._settings)
                    self._life.begin()
            return self._here()
        return life


class _Life:
    """A dispatcher on a loop in a thread, in one process, from ``open`` or ``begin`` to ``close``."""

    def __init__(self, settings: Settings) -> None:
        self.dispatcher = Dispatcher(settings)
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="dispatcher", daemon=True)
        self._handing_over = threading.Lock()
        self._is_over = False

    @property
    def is_here(self) -> bool:
        """False in a fork of the process that it belongs to."""
        return self._pid == os.getpid()

    def open(self) -> None:
        self._thread.start()
        try:
            self.do(Dispatcher.open)
        except BaseException:
            self.close()
            raise

    def begin(self) -> None:
        self._loop.call_soon(self.dispatcher.begin)
        self._thread.start()

    def close(self) -> None:
        with self._handing_over:
            self._is_over = True
            ended = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        try:
            ended.result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _end(self) -> None:
        await self.dispatcher.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def do(self, work: Callable[[Dispatcher], Coroutine[Any, Any, T]]) -> T:
        if not self.is_here:
            raise NotOpen(f"was opened in process {self._pid}, and this is a fork of it")
        with self._handing_over:
            if self._is_over:
                raise NotOpen
            future = asyncio.run_coroutine_threadsafe(work(self.dispatcher), self._loop)
        try:
            return future.result()
        except CancelledError:
            raise ConnectionLost("the dispatcher was closed") from None
        except BaseException:
            # Ctrl-C while it waits: the call is given up, not left behind.
            future.cancel()
            raise

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        async def following(_: Dispatcher) -> tuple[T] | None:
            async for item in items:
                return (item,)
            return None

        try:
            while (item := self.do(following)) is not None:
                yield item[0]
        finally:
            with contextlib.suppress(NotOpen):
                self.do(lambda _: _close(items))


def _each(chunks: Iterator[list[T]]) -> Iterator[T]:
    for chunk in chunks:
        yield from chunk


async def _in_a_thread(inputs: Iterable[T], ahead: int) -> AsyncIterator[T]:
    """The caller's iterator may be slow, or call this very dispatcher: the loop must not wait for it.

    At most ``ahead`` inputs are taken before they are asked for; each can be had as soon as it is there.
    """
    loop, iterator = asyncio.get_running_loop(), iter(inputs)
    taken: deque[T] = deque()
    news = asyncio.Event()

    def take() -> bool:
        """False once the iterator has ended."""
        for number, item in enumerate(islice(iterator, ahead), 1):
            taken.append(item)
            if len(taken) == 1:
                loop.call_soon_threadsafe(news.set)
            if number == ahead:
                return True
        return False

    goes_on = True
    while goes_on:
        taking = loop.run_in_executor(None, take)
        taking.add_done_callback(lambda _taking: news.set())
        while not taking.done() or taken:
            await news.wait()
            news.clear()
            while taken:
                yield taken.popleft()
        goes_on = await taking


async def _close(items: AsyncIterator[Any]) -> None:
    """End an asynchronous generator where it stands, so that what it holds is released now."""
    if hasattr(items, "aclose"):
        await items.aclose()
