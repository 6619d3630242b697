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
from contextvars import copy_context
from queue import SimpleQueue

from broker.channel import resolve
from broker.errors import ConfigError
from protocol.errors import ErrorCode
from protocol.limits import Limits
from worker.handler import Call, Handler, load_all, run, run_async, safe_text
from worker.outcome import Failed, Outcome


class ThreadExecutor:
    """``size`` daemon threads: a handler that never returns does not keep the process from ending."""

    def __init__(self, size: int, handlers: dict[str, str], limits: Limits) -> None:
        self._size = size
        self._paths = handlers
        self._handlers: dict[str, Handler] = {}
        self._limits = limits
        self._calls: SimpleQueue[Callable[[], bool] | None] = SimpleQueue()
        self._outcomes = Outcomes()

    @property
    def problem(self) -> str | None:
        return None

    async def start(self) -> None:
        self._handlers = await load_all(self._paths)
        for _ in range(self._size):
            self._add_thread()

    async def run(self, call: Call) -> Outcome:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Outcome] = loop.create_future()
        abandoned = threading.Event()
        handler = self._handlers[call.context.task]

        def work() -> bool:
            self._outcomes.hand_over(loop, ended, _guarded(handler, call, self._limits))
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
        self._outcomes = Outcomes()

    @property
    def problem(self) -> str | None:
        return None

    async def start(self) -> None:
        self._handlers = await load_all(self._paths)
        wrong = [self._paths[task] for task, handler in self._handlers.items() if not handler.is_async]
        if wrong:
            raise ConfigError([f"handler {path!r} must be `async def` for the async executor." for path in wrong])
        threading.Thread(target=self._loop.run_forever, name="async handlers", daemon=True).start()

    async def run(self, call: Call) -> Outcome:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Outcome] = loop.create_future()
        handler = self._handlers[call.context.task]
        running: set[asyncio.Task[None]] = set()

        async def work() -> None:
            try:
                outcome = await run_async(handler, call, self._limits)
            except BaseException as error:  # noqa: BLE001 - around a user's handler: SystemExit would end the loop
                outcome = Failed(ErrorCode.RETRIES_EXHAUSTED, type(error).__name__, safe_text(error))
            self._outcomes.hand_over(loop, ended, outcome)

        def begin() -> None:
            running.add(self._loop.create_task(work(), context=copy_context()))

        def give_up() -> None:
            # The waiting ends here and now: a coroutine may swallow its cancellation, or not await at all.
            self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in running])
            resolve(ended, _timed_out(call, "it was cancelled, which takes effect at its next await"))

        self._loop.call_soon_threadsafe(begin)
        limit = loop.call_later(call.timeout_s, give_up)
        try:
            return await ended
        finally:
            limit.cancel()

    async def stop(self) -> None:
        def end() -> None:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.call_soon(self._loop.stop)

        self._loop.call_soon_threadsafe(end)


class Outcomes:
    """Hands outcomes from other threads over to the loop; one wake-up serves all that have gathered."""

    def __init__(self) -> None:
        self._ended: deque[tuple[asyncio.Future[Outcome], Outcome]] = deque()
        self._woken = False

    def hand_over(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[Outcome], outcome: Outcome) -> None:
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


def _guarded(handler: Handler, call: Call, limits: Limits) -> Outcome:
    """A thread must survive what a handler raises, be it ``SystemExit``."""
    try:
        return run(handler, call, limits)
    except BaseException as error:  # noqa: BLE001 - around a user's handler, in a thread that must live on
        return Failed(ErrorCode.RETRIES_EXHAUSTED, type(error).__name__, safe_text(error))


def _timed_out(call: Call, what: str) -> Failed:
    return Failed(ErrorCode.TIMED_OUT, "TimeLimit", f"over its limit of {call.timeout_s:g} s; {what}")
