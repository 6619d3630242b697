"""The thread and async executors: cheaper than processes, and with weaker promises.

A thread cannot be stopped from outside, so a time limit here only ends the waiting: the handler goes on behind
our back, and a fresh thread takes its place. A coroutine is cancelled, at its next await.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from broker.channel import resolve
from broker.errors import ConfigError
from protocol.errors import ErrorCode
from protocol.limits import Limits
from worker.handler import Call, Handler, load, run, run_async, safe_text
from worker.outcome import Failed, Outcome


class ThreadExecutor:
    """``size`` daemon threads: a handler that never returns does not keep the process from ending."""

    def __init__(self, size: int, handlers: dict[str, str], limits: Limits) -> None:
        self._size = size
        self._paths = handlers
        self._handlers: dict[str, Handler] = {}
        self._limits = limits
        self._calls: SimpleQueue[Callable[[], bool] | None] = SimpleQueue()
        self._ended: deque[tuple[asyncio.Future[Outcome], Outcome]] = deque()
        self._woken = False

    async def start(self) -> None:
        self._handlers = {task: load(path) for task, path in self._paths.items()}
        for _ in range(self._size):
            self._add_thread()

    async def run(self, call: Call) -> Outcome:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Outcome] = loop.create_future()
        abandoned = threading.Event()
        handler = self._handlers[call.context.task]

        def work() -> bool:
            self._hand_over(loop, ended, _guarded(handler, call, self._limits))
            return not abandoned.is_set()

        def give_up() -> None:
            abandoned.set()
            self._add_thread()
            resolve(ended, _timed_out(call, "its thread cannot be stopped and goes on"))

        self._calls.put(work)
        limit = loop.call_later(call.timeout_s, give_up)
        try:
            return await ended
        finally:
            limit.cancel()

    def _hand_over(
        self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[Outcome], outcome: Outcome
    ) -> None:
        """Called in a handler's thread. One wake-up of the loop serves all outcomes that have gathered."""
        self._ended.append((ended, outcome))
        if not self._woken:
            self._woken = True
            # RuntimeError: the loop has ended, and with it everyone who waited.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._take_over)

    def _take_over(self) -> None:
        # First the flag: whoever appends from now on wakes the loop again.
        self._woken = False
        while self._ended:
            resolve(*self._ended.popleft())

    async def stop(self) -> None:
        for _ in range(self._size):
            self._calls.put(None)

    def _add_thread(self) -> None:
        threading.Thread(target=self._serve, name="handler", daemon=True).start()

    def _serve(self) -> None:
        """Run calls until told to end, or until one took so long that another thread took over."""
        while (work := self._calls.get()) is not None and work():
            pass


class AsyncExecutor:
    """An event loop of its own in a thread, apart from the one that owns AMQP."""

    def __init__(self, handlers: dict[str, str], limits: Limits) -> None:
        self._paths = handlers
        self._handlers: dict[str, Handler] = {}
        self._limits = limits
        self._loop = asyncio.new_event_loop()

    async def start(self) -> None:
        self._handlers = {task: load(path) for task, path in self._paths.items()}
        wrong = [self._paths[task] for task, handler in self._handlers.items() if not handler.is_async]
        if wrong:
            raise ConfigError([f"handler {path!r} must be `async def` for the async executor." for path in wrong])
        threading.Thread(target=self._loop.run_forever, name="async handlers", daemon=True).start()

    async def run(self, call: Call) -> Outcome:
        handler = self._handlers[call.context.task]
        future = asyncio.run_coroutine_threadsafe(self._limited(handler, call), self._loop)
        return await asyncio.wrap_future(future)

    async def _limited(self, handler: Handler, call: Call) -> Outcome:
        try:
            async with asyncio.timeout(call.timeout_s) as limit:
                return await run_async(handler, call, self._limits)
        except TimeoutError:
            if limit.expired():
                return _timed_out(call, "it was cancelled")
            raise
        except BaseException as error:  # noqa: BLE001 - around a user's handler: SystemExit would end the loop
            return Failed(ErrorCode.RETRIES_EXHAUSTED, type(error).__name__, safe_text(error))

    async def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)


def _guarded(handler: Handler, call: Call, limits: Limits) -> Outcome:
    """A thread must survive what a handler raises, be it ``SystemExit``."""
    try:
        return run(handler, call, limits)
    except BaseException as error:  # noqa: BLE001 - around a user's handler, in a thread that must live on
        return Failed(ErrorCode.RETRIES_EXHAUSTED, type(error).__name__, safe_text(error))


def _timed_out(call: Call, what: str) -> Failed:
    return Failed(ErrorCode.TIMED_OUT, "TimeLimit", f"over its limit of {call.timeout_s:g} s; {what}")
