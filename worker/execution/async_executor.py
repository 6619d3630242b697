"""The async executor: coroutines on an event loop of their own in a thread, apart from the loop that owns AMQP.

A time limit cancels a coroutine, at its next await; the waiting for it ends at once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator
from contextvars import copy_context

from broker.errors import ConfigError
from protocol.codec import Encoder
from protocol.limits import Limits
from worker.context import Current
from worker.execution.executor import Begun, Run
from worker.execution.handler import Handler, run_async
from worker.execution.outcome import Outcome
from worker.execution.place import report_left_behind
from worker.execution.thread_executor import SWEEP_S, Outcomes, load_all, timed_out


class Coroutine:
    """A task of a run that was handed over to the other loop."""

    def __init__(self, run: Run, position: int, now_s: float) -> None:
        self.run = run
        self.position = position
        self.began_s = now_s
        self.task: asyncio.Task[None] | None = None


class AsyncExecutor:
    """As many coroutines at a time as are submitted: a ``ConcurrencyLimiter`` bounds them."""

    def __init__(self, handlers: dict[str, str], limits: Limits) -> None:
        self._paths = handlers
        self._handlers: dict[str, Handler] = {}
        self._encoder = Encoder(limits)
        self._theirs = asyncio.new_event_loop()
        #: Insertion order is the order in which they began.
        self._running: dict[Coroutine, None] = {}
        self._begun: deque[Coroutine] = deque()
        self._woken = False
        self._stopping = False
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def problem(self) -> str | None:
        return None

    @property
    def busy(self) -> int:
        return len(self._running)

    async def start(self) -> None:
        self._handlers = await load_all(self._paths)
        wrong = [self._paths[task] for task, handler in self._handlers.items() if not handler.is_async]
        if wrong:
            raise ConfigError([f"handler {path!r} must be `async def` for the async executor." for path in wrong])
        self._outcomes = Outcomes(asyncio.get_running_loop(), self._take)
        threading.Thread(target=self._serve, name="async handlers", daemon=True).start()

    def submit(self, run: Run) -> None:
        now_s = time.monotonic()
        for position in range(len(run.ids)):
            coroutine = Coroutine(run, position, now_s)
            self._running[coroutine] = None
            self._begun.append(coroutine)
        if not self._woken:
            self._woken = True
            self._theirs.call_soon_threadsafe(self._begin)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._end_late)

    def running(self) -> Iterator[Begun]:
        return (Begun(one.run, one.position, one.began_s) for one in list(self._running))

    def interrupt(self, ids: Collection[str]) -> None:
        """It ends at its next await, unless it swallows its cancellation."""
        for one in self._running:
            if one.run.ids[one.position] in ids:
                self._theirs.call_soon_threadsafe(self._cancel, one)

    def withdraw(self) -> None:
        """All of them have begun."""

    async def stop(self) -> None:
        def end() -> None:
            for task in asyncio.all_tasks(self._theirs):
                task.cancel()
            self._theirs.call_soon(self._theirs.stop)

        self._stopping = True
        if self._sweep is not None:
            self._sweep.cancel()
        self._theirs.call_soon_threadsafe(end)

    def _take(self, ended: list[tuple[Coroutine, Outcome, float]]) -> None:
        for coroutine, outcome, ran_s in ended:
            self._ended(coroutine, outcome, ran_s)

    def _ended(self, coroutine: Coroutine, outcome: Outcome, ran_s: float) -> None:
        if coroutine in self._running:
            del self._running[coroutine]
            coroutine.run.on_results([(coroutine.position, outcome, ran_s)])

    def _end_late(self) -> None:
        self._sweep, now_s = None, time.monotonic()
        late = [one for one in self._running if now_s - one.began_s > one.run.terms.timeout_s]
        for one in late:
            # The waiting ends here and now: a coroutine may swallow its cancellation, or not await at all.
            self._theirs.call_soon_threadsafe(self._cancel, one)
            text = "it was cancelled, which takes effect at its next await"
            self._ended(one, timed_out(one.run.terms.timeout_s, text), now_s - one.began_s)
        if self._running and self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._end_late)

    def _serve(self) -> None:
        """Run the loop, whatever is raised by what a handler left behind on it, and also if that stops it."""
        while not self._stopping:
            try:
                self._theirs.run_forever()
            except BaseException:  # noqa: BLE001 - what a handler left behind raised
                report_left_behind()

    def _begin(self) -> None:
        """In the other loop: begin what was submitted since it was last woken."""
        self._woken = False
        while self._begun:
            coroutine = self._begun.popleft()
            coroutine.task = self._theirs.create_task(self._work(coroutine), context=copy_context())

    def _cancel(self, coroutine: Coroutine) -> None:
        if coroutine.task is not None:
            coroutine.task.cancel()

    async def _work(self, coroutine: Coroutine) -> None:
        run, position = coroutine.run, coroutine.position
        terms = run.terms
        context = Current(run.ids[position], terms.task, terms.queue, run.attempt, terms.max_attempts)
        handler = self._handlers[terms.handler]
        outcome = await run_async(handler, run.arguments[position], run.expires_at, context, self._encoder)
        self._outcomes.hand_over((coroutine, outcome, time.monotonic() - coroutine.began_s))
