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
from queue import Empty, SimpleQueue

from protocol.errors import ErrorCode
from protocol.limits import Limits
from worker.handler import Call, Handler, load, run, safe_text
from worker.outcome import Failed, Outcome

#: How often it is looked whether a call is over its time limit.
SWEEP_S = 0.05


async def load_all(paths: Mapping[str, str]) -> dict[str, Handler]:
    """The handlers of several tasks, loaded in a thread: a slow import must not hold up the loop."""
    return await asyncio.to_thread(lambda: {task: load(path) for task, path in paths.items()})


class Seat:
    """A thread, and what it runs. The lock decides who ends a call: its thread, or the time limit."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls: list[Call] = []
        self.number = 0
        self.began_s = 0.0
        self.abandoned = False

    @property
    def is_busy(self) -> bool:
        return self.number < len(self.calls)

    def begin(self, calls: list[Call], number: int) -> bool:
        """Begin the call of this number; False if another thread has taken over."""
        with self.lock:
            self.calls, self.number, self.began_s = calls, number, time.monotonic()
            return not self.abandoned

    def abandon(self, now_s: float) -> Call | None:
        """Take over if the call that runs is over its time limit, and return it."""
        with self.lock:
            if not self.is_busy:
                return None
            call = self.calls[self.number]
            self.abandoned = now_s - self.began_s > call.timeout_s
            return call if self.abandoned else None

    def ended(self) -> bool:
        """The call that ran is over, and its outcome counts; False if it was given up before."""
        with self.lock:
            if self.abandoned:
                return False
            self.number = len(self.calls)
            return True


class ThreadExecutor:
    """``size`` daemon threads: a handler that never returns does not keep the process from ending."""

    def __init__(self, size: int, handlers: dict[str, str], limits: Limits) -> None:
        self._size = size
        self._paths = handlers
        self._handlers: dict[str, Handler] = {}
        self._limits = limits
        self._queue: SimpleQueue[list[Call] | None] = SimpleQueue()
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
        self._outcomes = Outcomes(self._loop, self._end)
        for _ in range(self._size):
            self._add_thread()

    def submit(self, calls: list[Call]) -> None:
        self._open += len(calls)
        self._queue.put(calls)
        if self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP_S, self._look)

    def withdraw(self) -> None:
        """Of a batch that has begun the rest is run: it is short, or it would be no batch."""
        with contextlib.suppress(Empty):
            while True:
                for call in self._queue.get_nowait() or ():
                    self._end(call, None, 0.0)

    async def stop(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        for _ in self._seats:
            self._queue.put(None)

    def _look(self) -> None:
        """End the waiting for calls that are over their limit."""
        self._sweep, now_s = None, time.monotonic()
        for seat in list(self._seats):
            call = seat.abandon(now_s)
            if call is None:
                continue
            self._seats.remove(seat)
            self._add_thread()
            if rest := seat.calls[seat.number + 1 :]:
                self._queue.put(rest)
            text = "its thread cannot be stopped and goes on"
            self._end(call, timed_out(call, text), now_s - seat.began_s)
        if self._open and self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP_S, self._look)

    def _end(self, call: Call, outcome: Outcome | None, ran_s: float) -> None:
        self._open -= 1
        call.on_end(outcome, ran_s)

    def _add_thread(self) -> None:
        seat = Seat()
        self._seats.append(seat)
        threading.Thread(target=self._serve, args=(seat,), name="handler", daemon=True).start()

    def _serve(self, seat: Seat) -> None:
        """Run calls until told to end, or until one took so long that another thread took over."""
        while (calls := self._queue.get()) is not None:
            for number, call in enumerate(calls):
                if not seat.begin(calls, number):
                    return
                outcome = _guarded(self._handlers[call.handler], call, self._limits)
                ran_s = time.monotonic() - seat.began_s
                if not seat.ended():
                    return
                self._outcomes.hand_over(call, outcome, ran_s)


class Outcomes:
    """Hands outcomes from other threads over to the loop; one wake-up serves all that have gathered."""

    def __init__(self, loop: asyncio.AbstractEventLoop, take: Callable[[Call, Outcome, float], None]) -> None:
        """``take`` is called on ``loop``, once for each."""
        self._loop = loop
        self._take = take
        self._ended: deque[tuple[Call, Outcome, float]] = deque()
        self._woken = False

    def hand_over(self, call: Call, outcome: Outcome, ran_s: float) -> None:
        self._ended.append((call, outcome, ran_s))
        if not self._woken:
            self._woken = True
            # RuntimeError: the loop has ended, and with it everyone who waited.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._take_over)

    def _take_over(self) -> None:
        # First the flag: whoever appends from now on wakes the loop again.
        self._woken = False
        while self._ended:
            self._take(*self._ended.popleft())


def _guarded(handler: Handler, call: Call, limits: Limits) -> Outcome:
    """A thread must survive what a handler raises, be it ``SystemExit``."""
    try:
        return run(handler, call, limits)
    except BaseException as error:  # noqa: BLE001 - around a user's handler, in a thread that must live on
        return Failed(ErrorCode.RETRIES_EXHAUSTED, type(error).__name__, safe_text(error))


def timed_out(call: Call, what: str) -> Failed:
    return Failed(ErrorCode.TIMED_OUT, "TimeLimit", f"over its limit of {call.timeout_s:g} s; {what}")
