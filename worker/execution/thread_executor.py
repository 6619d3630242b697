"""The thread executor: cheaper than processes, and with weaker promises.

A thread cannot be stopped from outside, so a time limit here only ends the waiting: the handler goes on behind
our back, and a fresh thread takes its place. Threads take tasks from one queue by themselves, so between two of
them none has to wait for the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from protocol.errors import ErrorCode
from protocol.limits import Limits
from worker.context import Current
from worker.execution.executor import Begun, Result, Run
from worker.execution.handler import Handler, load
from worker.execution.handler import run as run_handler
from worker.execution.outcome import Failed, Outcome
from worker.execution.place import Place

log = logging.getLogger("glassrabbit.worker")

#: How often it is looked whether a task is over its time limit.
SWEEP_S = 0.05
#: How long outcomes of a run wait for each other at most, if its tasks are short.
HOLD_S = 0.002
_GOES_ON = "its thread cannot be stopped and goes on"

#: Tasks of a run that follow one another, for one thread.
Piece = tuple[Run, range]
T = TypeVar("T")


async def load_all(paths: Mapping[str, str]) -> dict[str, Handler]:
    """The handlers of several tasks, loaded in a thread: a slow import must not hold up the loop."""
    return await asyncio.to_thread(lambda: {task: load(path) for task, path in paths.items()})


class Seat:
    """A thread, and what it runs. The lock decides what ends a task: its thread, or the time limit."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.piece: Piece | None = None
        #: Of the task that runs, or ran last.
        self.context: Current | None = None
        self.index = 0
        self.began_s = 0.0
        self.is_busy = False
        self.abandoned = False

    def begin(self, piece: Piece, index: int) -> bool:
        """Begin a task of this piece; False if another thread has taken over."""
        with self.lock:
            self.piece, self.index, self.began_s, self.is_busy = piece, index, time.monotonic(), True
            return not self.abandoned

    def go_on(self, *, more: bool) -> float:
        """The task that ran is over, and if there are more in its piece the next one begins: how long it ran; less
        than 0 if another thread has taken over, and its outcome does not count."""
        with self.lock:
            if self.abandoned:
                return -1.0
            began_s, self.began_s = self.began_s, time.monotonic()
            self.index += 1
            self.is_busy = more
            return self.began_s - began_s

    def begun(self) -> Begun | None:
        """What runs here."""
        with self.lock:
            if self.piece is None or not self.is_busy:
                return None
            run, positions = self.piece
            return Begun(run, positions[self.index], self.began_s)

    def abandon(self, now_s: float) -> Piece | None:
        """Take over if the task that runs is over its time limit: its piece from that task on."""
        with self.lock:
            if self.piece is None or not self.is_busy:
                return None
            run, positions = self.piece
            self.abandoned = now_s - self.began_s > run.terms.timeout_s
            return (run, positions[self.index :]) if self.abandoned else None


class ThreadExecutor:
    """``size`` daemon threads: a handler that never returns does not keep the process from ending."""

    def __init__(self, size: int, handlers: dict[str, str], limits: Limits) -> None:
        self._size = size
        self._paths = handlers
        self._handlers: dict[str, Handler] = {}
        self._limits = limits
        self._queue: SimpleQueue[Piece | None] = SimpleQueue()
        self._seats: list[Seat] = []
        self._sweep: asyncio.TimerHandle | None = None
        #: Tasks that were submitted and have not ended.
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

    def submit(self, run: Run) -> None:
        self._open += len(run.ids)
        self._queue.put((run, range(len(run.ids))))
        if self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP_S, self._end_late)

    def running(self) -> Iterator[Begun]:
        for seat in self._seats:
            if (begun := seat.begun()) is not None:
                yield begun

    def interrupt(self, ids: Collection[str]) -> None:
        """A thread cannot be stopped: its handler may look at ``current().is_cancelled``."""
        for seat in self._seats:
            if seat.is_busy and (context := seat.context) is not None and context.id in ids:
                context.is_cancelled = True
                log.info("task %s is cancelled, and %s", context.id, _GOES_ON)

    def withdraw(self) -> None:
        """Of a run that has begun the rest is run: it is short, or it would be no batch."""
        with contextlib.suppress(Empty):
            while (piece := self._queue.get_nowait()) is not None:
                run, positions = piece
                self._end(run, [(position, None, 0.0) for position in positions])

    async def stop(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        for _ in self._seats:
            self._queue.put(None)

    def _end_late(self) -> None:
        """End the waiting for tasks that are over their limit."""
        self._sweep = None
        self._outcomes.take_over()
        now_s = time.monotonic()
        for seat in list(self._seats):
            late = seat.abandon(now_s)
            if late is None:
                continue
            run, positions = late
            self._seats.remove(seat)
            self._add_thread()
            if rest := positions[1:]:
                self._queue.put((run, rest))
            self._end(run, [(positions[0], timed_out(run.terms.timeout_s, _GOES_ON), now_s - seat.began_s)])
        if self._open and self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP_S, self._end_late)

    def _take(self, ended: list[tuple[Run, Result]]) -> None:
        """What the threads have handed over."""
        by_run: dict[Run, list[Result]] = {}
        for run, result in ended:
            by_run.setdefault(run, []).append(result)
        for run, results in by_run.items():
            self._end(run, results)

    def _end(self, run: Run, results: list[Result]) -> None:
        self._open -= len(results)
        run.on_results(results)

    def _add_thread(self) -> None:
        seat = Seat()
        self._seats.append(seat)
        threading.Thread(target=self._serve, args=(seat,), name="handler", daemon=True).start()

    def _serve(self, seat: Seat) -> None:
        """Run what comes until the end, or until a task took so long that another thread took over."""
        with contextlib.closing(Place(self._limits)) as place:
            while (piece := self._queue.get()) is not None and self._run(seat, piece, place):
                pass

    def _run(self, seat: Seat, piece: Piece, place: Place) -> bool:
        """False if another thread has taken over."""
        run, positions = piece
        if not seat.begin(piece, 0):
            return False
        handed_over_s, last = seat.began_s, positions[-1]
        for position in positions:
            outcome = self._outcome(seat, run, position, place)
            ran_s = seat.go_on(more=position < last)
            if ran_s < 0:
                return False
            # Should the next one take long, the sweep takes over what is held.
            is_held = position < last and seat.began_s - handed_over_s < HOLD_S
            self._outcomes.hand_over((run, (position, outcome, ran_s)), is_held)
            if position < last and not is_held:
                # The loop may have had its turn meanwhile; the next one's time begins only now.
                if not seat.begin(piece, seat.index):
                    return False
                handed_over_s = seat.began_s
        return True

    def _outcome(self, seat: Seat, run: Run, position: int, place: Place) -> Outcome:
        terms = run.terms
        seat.context = context = Current(
            run.ids[position], terms.task, terms.queue, run.attempt, terms.max_attempts
        )
        handler = self._handlers[terms.handler]
        return run_handler(handler, run.arguments[position], run.expires_at, context, place)


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
        # First the flag: a thread that appends from now on wakes the loop again.
        self._woken = False
        ended = self._ended
        self._take([ended.popleft() for _ in range(len(ended))])


def timed_out(timeout_s: float, what: str) -> Failed:
    return Failed(ErrorCode.TIMED_OUT, "TimeLimit", f"over its limit of {timeout_s:g} s; {what}")
