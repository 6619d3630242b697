"""A dispatcher in this process, for tests that are not coroutines."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from broker.config.settings import Settings
from dispatcher.client import Dispatcher
from protocol.reply import Reply
from tests.support.waiting import patiently

T = TypeVar("T")

_WITHIN_S = 40.0


class Asked(Future[T]):
    """What a coroutine of the dispatcher's loop comes to."""

    def __init__(self, running: Future[T]) -> None:
        super().__init__()
        self._running = running
        running.add_done_callback(self._take)

    def _take(self, running: Future[T]) -> None:
        if running.cancelled():
            super().cancel()
        elif self.set_running_or_notify_cancel():
            error = running.exception()
            if error is None:
                self.set_result(running.result())
            else:
                self.set_exception(error)

    def cancel(self) -> bool:
        return self._running.cancel()

    def result(self, timeout: float | None = None) -> T:
        self._await(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._await(timeout)
        return super().exception(0)

    def _await(self, within_s: float | None) -> None:
        """Its end, or so many seconds of a machine with nothing else to do."""
        patiently(lambda for_s: bool(wait([self], for_s).done), within_s or _WITHIN_S)


class Caller:
    """``with Caller(settings) as caller``: a ``Dispatcher`` on a loop in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="dispatcher", daemon=True)
        self._settings = settings
        self.dispatcher: Dispatcher

    def __enter__(self) -> Caller:
        self._thread.start()
        try:
            self.dispatcher = self.run(self._open())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self.dispatcher.close())
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WITHIN_S)
        self._loop.close()

    async def _open(self) -> Dispatcher:
        return await Dispatcher(self._settings).__aenter__()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the dispatcher's loop."""
        return Asked(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.start(coroutine).result(_WITHIN_S)

    def asking(
        self,
        task: str,
        arguments: dict[str, Any] | None = None,
        *,
        timeout_s: float = 30.0,
        delay_s: float = 0.0,
        expires_s: float | None = None,
    ) -> Future[Reply]:
        """The reply to be. Concurrent askings are sent in order."""
        return self.start(
            self.dispatcher.ask(task, arguments, timeout_s=timeout_s, delay_s=delay_s, expires_s=expires_s)
        )

    def ask(self, task: str, arguments: dict[str, Any] | None = None, **options: Any) -> Reply:
        return self.asking(task, arguments, **options).result(_WITHIN_S)

    def submit(self, task: str, arguments: dict[str, Any] | None = None, **options: Any) -> str:
        return self.run(self.dispatcher.submit(task, arguments, **options))
