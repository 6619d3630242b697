"""The thread executor: cheaper than processes, and with weaker promises.

A thread cannot be stopped from outside, so a time limit here only ends the waiting: the handler goes on behind
our back, and a fresh thread takes its place. Threads take calls from one queue by themselves, so between two
tasks none of them has to wait for the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from protocol.errors import ErrorCode
from protocol.limits import Limits
from worker.context import Current
from worker.execution.handler import Call, Handler, Ran, Series, load, run, run_with, too_late
from worker.execution.outcome import Failed, Outcome
from worker.execution.place import Place

#: How often it is looked whether a call is over its time limit.
SWEEP_S = 0.05
#: Outcomes of a series wait for each other, so long at most if its calls are short.
HOLD_S = 0.002
_GOES_ON = "its thread cannot be stopped and goes on"

#: Calls that one thread runs one after another.
Job = list[Call] | Series
T = TypeVar("T")


async def load_all(paths: Mapping[str, str]) -> dict[str, Handler]:
    """The handlers of several tasks, loaded in a thread: a slow import must not hold up the loop."""
    return await asyncio.to_thread(lambda: {task: load(path) for task, path in paths.items()})


class Seat:
    """A thread, and what it runs. The lock decides who ends a call: its thread, or the time limit."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.job: Job = []
        self.number = 0
        self.began_s = 0.0
        self.is_busy = False
        self.abandoned = False

    def begin(self, job: Job, number: int) -> bool:
        """Begin a call of this job; False if another thread has taken over."""
        with self.lock:
            self.job, self.number, self.began_s, self.is_busy = job, number, time.monotonic(), True
            return not self.abandoned

    def go_on(self, *, more: bool) -> float:
        """The call that ran is over, and if there are more in its job the next one begins: how long it ran; less
        than 0 if another thread has taken over, and its outcome does not count."""
        with self.lock:
            if self.abandoned:
                return -1.0
            began_s, self.began_s = self.began_s, time.monotonic()
            self.number += 1
            self.is_busy = more
            return self.began_s - began_s

    def abandon(self, now_s: float) -> bool:
        """Take over if the call that runs is over its time limit."""
        with self.lock:
            if self.is_busy:
                job = self.job
                timeout_s = job.timeout_s if isinstance(job, Series) else job[self.number].timeout_s
                self.abandoned = now_s - self.began_s > timeout_s
            return self.abandoned

    def ended(self) -> bool:
        """The call that ran is over, and its outcome counts; False if it was given up before."""
        with self.lock:
            if self.abandoned:
                return False
            self.is_busy = False
            return True


class ThreadExecutor:
    """``size`` daemon threads: a handler that never returns does not keep the process from ending."""

    def __init__(self, size: int, handlers: dict[str, str], limits: Limits) -> None:
        self._size = size
        self._paths = handlers
        self._handlers: dict[str, Handler] = {}
        self._limits = limits
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._seats: list[Seat] = []
        self._sweep: asyncio.TimerHandle | None = None
        #: Calls that were submitted and have not ended.
        self._open = 0

    @property
    def problem(self) -> str | None:
        return None

    @property
    def busy(self) -> int:
        return sum(seat.is_busy for seat in self._seats)

    async def start(self) -> None:
        self._handlers = await load_all(self._paths)
        self._loop = asyncio.get_running_loop()
        self._outcomes = Outcomes(self._loop, self._take)
        for _ in range(self._size):
            self._add_thread()

    def submit(self, calls: list[Call]) -> None:
        self._submit(calls)

    def submit_series(self, series: Series) -> None:
        """The same for many tasks that have all but their arguments in common."""
        self._submit(series)

    def _submit(self, job: Job) -> None:
        self._open += len(job)
        self._queue.put(job)
        if self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP_S, self._look)

    def withdraw(self) -> None:
        """Of a batch that has begun the rest is run: it is short, or it would be no batch."""
        with contextlib.suppress(Empty):
            while True:
                match self._queue.get_nowait():
                    case Series() as series:
                        self._end_series(series, [(task_id, None, 0.0) for task_id in series.arguments])
                    case list() as calls:
                        for call in calls:
                            self._end(call, None, 0.0)

    async def stop(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        for _ in self._seats:
            self._queue.put(None)

    def _look(self) -> None:
        """End the waiting for calls that are over their limit."""
        self._sweep = None
        self._outcomes.take_over()
        now_s = time.monotonic()
        for seat in list(self._seats):
            if not seat.abandon(now_s):
                continue
            self._seats.remove(seat)
            self._add_thread()
            job, number, ran_s = seat.job, seat.number, now_s - seat.began_s
            if isinstance(job, Series):
                ids = list(job.arguments)
                if number + 1 < len(ids):
                    rest = {task_id: job.arguments[task_id] for task_id in ids[number + 1 :]}
                    self._queue.put(replace(job, arguments=rest))
                self._end_series(job, [(ids[number], timed_out(job.timeout_s, _GOES_ON), ran_s)])
            else:
                if rest_of_them := job[number + 1 :]:
                    self._queue.put(rest_of_them)
                self._end(job[number], timed_out(job[number].timeout_s, _GOES_ON), ran_s)
        if self._open and self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP_S, self._look)

    def _take(self, ended: list[tuple[Call | Series, str, Outcome, float]]) -> None:
        """What the threads have handed over."""
        together: dict[Series, list[Ran]] = {}
        for job, task_id, outcome, ran_s in ended:
            if isinstance(job, Series):
                together.setdefault(job, []).append((task_id, outcome, ran_s))
            else:
                self._end(job, outcome, ran_s)
        for series, ran in together.items():
            self._end_series(series, ran)

    def _end(self, call: Call, outcome: Outcome | None, ran_s: float) -> None:
        self._open -= 1
        call.on_end(outcome, ran_s)

    def _end_series(self, series: Series, ran: list[Ran]) -> None:
        self._open -= len(ran)
        series.on_end(ran)

    def _add_thread(self) -> None:
        seat = Seat()
        self._seats.append(seat)
        threading.Thread(target=self._serve, args=(seat,), name="handler", daemon=True).start()

    def _serve(self, seat: Seat) -> None:
        """Run calls until told to end, or until one took so long that another thread took over."""
        with contextlib.closing(Place(self._limits)) as place:
            while (job := self._queue.get()) is not None:
                if isinstance(job, Series):
                    is_over = self._run_series(seat, job, place)
                else:
                    is_over = self._run_calls(seat, job, place)
                if not is_over:
                    return

    def _run_calls(self, seat: Seat, calls: list[Call], place: Place) -> bool:
        for number, call in enumerate(calls):
            if not seat.begin(calls, number):
                return False
            outcome = run(self._handlers[call.handler], call, place)
            ran_s = time.monotonic() - seat.began_s
            if not seat.ended():
                return False
            self._outcomes.hand_over((call, "", outcome, ran_s))
        return True

    def _run_series(self, seat: Seat, series: Series, place: Place) -> bool:
        handler, queue, max_attempts = self._handlers[series.handler], series.queue, series.max_attempts
        if not seat.begin(series, 0):
            return False
        told_s, last = seat.began_s, len(series)
        for number, (task_id, arguments) in enumerate(series.arguments.items(), 1):
            context = Current(task_id, series.handler, queue, 1, max_attempts)
            outcome = too_late(series.expires_at) or run_with(handler, arguments, context, place)
            more = number < last
            ran_s = seat.go_on(more=more)
            if ran_s < 0:
                return False
            # Should the next one take long, the sweep takes over what is held.
            is_held = more and seat.began_s - told_s < HOLD_S
            self._outcomes.hand_over((series, task_id, outcome, ran_s), is_held)
            if not is_held:
                # The loop may have had its turn meanwhile; the next one's time begins only now.
                if more and not seat.begin(series, number):
                    return False
                told_s = seat.began_s
        return True


class Outcomes(Generic[T]):
    """Hands outcomes from other threads over to the loop; one wake-up serves all that have gathered."""

    def __init__(self, loop: asyncio.AbstractEventLoop, take: Callable[[list[T]], None]) -> None:
        """``take`` is called on ``loop``, with each once."""
        self._loop = loop
        self._take = take
        self._ended: deque[T] = deque()
        self._woken = False

    def hand_over(self, ended: T, is_held: bool = False) -> None:
        """``is_held``: more is to come soon, and the loop need not be woken for this one."""
        self._ended.append(ended)
        if not (is_held or self._woken):
            self._woken = True
            # RuntimeError: the loop has ended, and with it everyone who waited.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.take_over)

    def take_over(self) -> None:
        """Take what is there."""
        # First the flag: whoever appends from now on wakes the loop again.
        self._woken = False
        ended = self._ended
        self._take([ended.popleft() for _ in range(len(ended))])


def timed_out(timeout_s: float, what: str) -> Failed:
    return Failed(ErrorCode.TIMED_OUT, "TimeLimit", f"over its limit of {timeout_s:g} s; {what}")
