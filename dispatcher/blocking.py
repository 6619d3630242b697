"""The dispatcher for code without an event loop: scripts, tests, notebooks.

A thread of its own runs the loop, so heartbeats and reconnects go on between calls.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from itertools import islice
from types import TracebackType
from typing import Any, TypeVar

from broker.config.settings import Settings
from dispatcher.client import DEFAULT_TIMEOUT_S, Dispatcher
from dispatcher.pace import Batch
from dispatcher.window import Ended, numbered
from protocol.reply import Reply

T = TypeVar("T")

#: Inputs of a map in batches that are taken before there is room for them: to take each alone would be slow.
AHEAD = 1000


class BlockingDispatcher:
    """``with BlockingDispatcher(settings) as dispatcher``: the methods of ``Dispatcher``, which say what they
    raise, as plain calls. May be used from several threads at once."""

    def __init__(self, settings: Settings) -> None:
        self._dispatcher = Dispatcher(settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="dispatcher", daemon=True)

    def __enter__(self) -> BlockingDispatcher:
        self._thread.start()
        try:
            self._do(self._dispatcher.__aenter__())
        except BaseException:
            self._end_thread()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._do(self._dispatcher.close())
        finally:
            self._end_thread()

    def call(
        self,
        task: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        delay_s: float = 0.0,
        expires_s: float | None = None,
    ) -> Any:
        return self._do(
            self._dispatcher.call(task, arguments, timeout_s=timeout_s, delay_s=delay_s, expires_s=expires_s)
        )

    def ask(
        self,
        task: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        delay_s: float = 0.0,
        expires_s: float | None = None,
    ) -> Reply:
        return self._do(
            self._dispatcher.ask(task, arguments, timeout_s=timeout_s, delay_s=delay_s, expires_s=expires_s)
        )

    def map(
        self,
        task: str,
        arguments: Iterable[Mapping[str, Any]],
        *,
        window: int | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        batch: Batch = None,
    ) -> Iterator[Ended]:
        inputs = numbered(_in_a_thread(arguments, 1 if batch is None else AHEAD))
        chunks = self._dispatcher.map_chunks(inputs, task, window=window, timeout_s=timeout_s, batch=batch)
        return _each(self._iterate(chunks))

    def submit(
        self,
        task: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        mailbox: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        delay_s: float = 0.0,
        expires_s: float | None = None,
    ) -> str:
        return self._do(
            self._dispatcher.submit(
                task, arguments, mailbox=mailbox, timeout_s=timeout_s, delay_s=delay_s, expires_s=expires_s
            )
        )

    def collect(
        self, mailbox: str, *, count: int | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> Iterator[Reply]:
        return self._iterate(self._dispatcher.collect(mailbox, count=count, timeout_s=timeout_s))

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C while it waits: the call is given up, not left behind.
            future.cancel()
            raise

    def _iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        async def following() -> tuple[T] | None:
            async for item in items:
                return (item,)
            return None

        try:
            while (item := self._do(following())) is not None:
                yield item[0]
        finally:
            self._do(_close(items))

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


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
