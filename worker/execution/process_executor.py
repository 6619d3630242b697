"""The process executor: children of the worker, one task in each at a time.

A crash or a time-out is charged to the one task that ran in the child, and the child is replaced. The loop that
owns AMQP never runs a handler, so nothing that a handler does can stop heartbeats.

A child is handed about a millisecond of work ahead. What waits behind a task that takes longer than that is taken
back and goes to another child.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator
from dataclasses import asdict
from itertools import chain
from typing import Any, TypeVar

from broker.backoff import Backoff
from broker.errors import ConfigError
from protocol.errors import ErrorCode
from protocol.limits import Limits
from worker.execution.child_process import Child, ChildLost, InHand
from worker.execution.executor import Begun, Result, Run
from worker.execution.outcome import Failed
from worker.execution.zygote import Nursery

log = logging.getLogger("glassrabbit.worker")

#: After a child that died before it was ready: do not start the next one at once.
RESTART_WAIT_S = 0.5
LONGEST_RESTART_WAIT_S = 15.0
#: Seconds of work that a child has in hand, and how many tasks at most.
AHEAD_S = 0.001
DEPTH = 16
#: Nothing is known of a task that has not run yet.
UNKNOWN_S = 1.0
SHORTEST_S = 1e-6
#: Of a batch a child is handed as much at a time.
BATCH_S = 0.05
#: How much the latest run of a task counts in its mean.
WEIGHT = 0.2
#: How often it is looked whether a task is over its limit, or holds up others.
SWEEP_S = 0.02

T = TypeVar("T")
#: Tasks of a run that follow one another.
Piece = tuple[Run, range]


class ProcessExecutor:
    """``size`` children, each with the handlers of ``handlers`` (``Terms.handler`` → ``module:function``)."""

    def __init__(
        self,
        size: int,
        handlers: dict[str, str],
        limits: Limits,
        paths: list[str],
        wear: tuple[int | None, int | None] = (None, None),
        cancel_grace_s: float = 5.0,
        **options: Any,
    ) -> None:
        """``cancel_grace_s``: of what is cancelled, from SIGTERM to SIGKILL.

        ``wear``: the bounds of ``Wear``; ``options`` of ``Nursery``."""
        self._size = size
        self._cancel_grace_s = cancel_grace_s
        self._nursery = Nursery([paths, handlers, asdict(limits), wear], **options)
        self._waiting: deque[Piece] = deque()
        self._children: list[Child] = []
        self._mean_s: dict[str, float] = {}
        self._others: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._stopping = False
        #: Children that were lost so far, and replaced.
        self.restarts = 0
        #: Replacements that failed to start at their latest attempt.
        self._failing = 0

    @property
    def problem(self) -> str | None:
        return "children cannot be started" if self._failing else None

    @property
    def busy(self) -> int:
        """Children that have a task in hand."""
        return sum(bool(child.in_hand) for child in self._children)

    async def start(self) -> None:
        problem = await _started(self._nursery.begin)
        if problem is not None:
            raise problem
        async with asyncio.TaskGroup() as group:
            starts = [group.create_task(_started(self._nursery.child)) for _ in range(self._size)]
        results = [start.result() for start in starts]
        started = [result for result in results if isinstance(result, Child)]
        for result in results:
            if isinstance(result, ConfigError):
                await asyncio.gather(*(child.stop() for child in started))
                raise result
        for child in started:
            self._add(child)

    def submit(self, run: Run) -> None:
        self._waiting.append((run, range(len(run.ids))))
        self._feed()

    def running(self) -> Iterator[Begun]:
        for child in self._children:
            if child.in_hand:
                yield Begun(child.in_hand[0].run, child.in_hand[0].position, child.since_s)

    def interrupt(self, ids: Collection[str]) -> None:
        """SIGTERM means nothing to a child itself: it is for the handler, and for what that has started."""
        for child in filter(lambda child: child.in_hand, self._children):
            self._alone(child)
            held = child.in_hand[-1]
            if held.run.ids[held.position] in ids:
                child.terminate()
                asyncio.get_running_loop().call_later(self._cancel_grace_s, self._insist, child, held)
        self._feed()

    def _insist(self, child: Child, held: InHand) -> None:
        if child in self._children and held in child.in_hand and not self._stopping:
            text = "stopped, since it was cancelled"
            self._end(child, Failed(ErrorCode.WORKER_LOST, "Cancelled", text), time.monotonic() - child.since_s)

    def withdraw(self) -> None:
        back = [_pieces(child.take_back()) for child in self._children]
        waiting, self._waiting = self._waiting, deque()
        for run, positions in (*chain.from_iterable(back), *waiting):
            run.on_results([(position, None, 0.0) for position in positions])

    async def stop(self) -> None:
        self._stopping = True
        if self._sweep is not None:
            self._sweep.cancel()
        for task in self._others:
            task.cancel()
        # What they run never ends: a stop gives it up.
        await asyncio.gather(*(child.kill() if child.in_hand else child.stop() for child in self._children))
        await self._nursery.stop()

    def _feed(self) -> None:
        """Hand out what waits: to the first child that has room, so that it is awake already."""
        while self._waiting:
            run, positions = self._waiting[0]
            expected_s = self._mean_s.get(run.terms.handler, UNKNOWN_S)
            child = next((child for child in self._children if _has_room(child, expected_s)), None)
            if child is None:
                break
            count = max(1, int(BATCH_S / max(expected_s, SHORTEST_S)))
            self._waiting.popleft()
            if count < len(positions):
                self._waiting.appendleft((run, positions[count:]))
            child.send(run, positions[:count], expected_s)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._end_late)

    def _end_late(self) -> None:
        self._sweep, now_s = None, time.monotonic()
        for child in list(self._children):
            if child.in_hand and now_s - child.since_s > SWEEP_S:
                self._hurry(child, now_s - child.since_s)
        if self._sweep is None and self.busy:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._end_late)

    def _hurry(self, child: Child, ran_s: float) -> None:
        """Its task takes long: nothing has to wait behind it. Over its limit, it is stopped."""
        self._alone(child)
        timeout_s = child.in_hand[-1].run.terms.timeout_s
        if ran_s > timeout_s:
            text = f"stopped after its limit of {timeout_s:g} s"
            self._end(child, Failed(ErrorCode.TIMED_OUT, "TimeLimit", text), ran_s)
        self._feed()

    def _alone(self, child: Child) -> None:
        """Nothing waits behind what it runs, nor will as long as that runs."""
        self._waiting.extendleft(reversed(_pieces(child.take_back(all_but_one=True))))
        child.expected_s = max(child.expected_s, UNKNOWN_S)

    def _on_lost(self, child: Child) -> None:
        if child in self._children:
            self._end(child, None, time.monotonic() - child.since_s)

    def _end(self, child: Child, verdict: Failed | None, ran_s: float) -> None:
        """A child is lost, or has to go: charge the task that it ran, hand on the others, replace it."""
        self._children.remove(child)
        begun, back = child.let_go()
        guilty = begun.pop() if begun and not child.process.is_orphan else None
        # Those before the guilty one have run, but what came of it was lost with the child.
        for held in reversed(begun):
            self._waiting.appendleft((held.run, range(held.position, held.position + 1)))
        self._waiting.extend(_pieces(back))
        self._spawn(self._start_another())
        self._spawn(self._charge(child, guilty, verdict, ran_s))
        self._feed()

    async def _charge(self, child: Child, guilty: InHand | None, verdict: Failed | None, ran_s: float) -> None:
        if verdict is None:
            fate = await child.fate()
            verdict = Failed(ErrorCode.WORKER_LOST, "ChildLost", fate)
        else:
            await child.kill()
        # One that has run enough ends by itself, and has nothing in hand.
        self.restarts += guilty is not None or child.process.returncode != 0
        if guilty is not None:
            guilty.run.on_results([(guilty.position, verdict, ran_s)])

    def _on_results(self, run: Run, results: list[Result]) -> None:
        handler = run.terms.handler
        mean_s = self._mean_s.get(handler)
        for _, _, ran_s in results:
            mean_s = ran_s if mean_s is None else mean_s + WEIGHT * (ran_s - mean_s)
        assert mean_s is not None
        self._mean_s[handler] = mean_s
        run.on_results(results)

    def _add(self, child: Child) -> None:
        self._children.append(child)
        child.serve(self._on_results, self._feed, lambda: self._on_lost(child))
        self._feed()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    async def _start_another(self) -> None:
        """Start a child in the place of one that was lost, for as long as it takes; the reason is logged once."""
        backoff, is_logged = Backoff(RESTART_WAIT_S, LONGEST_RESTART_WAIT_S), False
        try:
            while not self._stopping:
                try:
                    self._add(await self._nursery.child())
                    return
                except (ConfigError, ChildLost, OSError) as error:
                    if not is_logged:
                        is_logged = True
                        self._failing += 1
                        log.error("a child cannot be started, trying again until it can: %s", error or "it ended")
                await asyncio.sleep(backoff.next_s())
        finally:
            self._failing -= is_logged


def _has_room(child: Child, expected_s: float) -> bool:
    """One task at a time, unless they are so short that the way to the child takes longer."""
    held = len(child.in_hand)
    return not held or (held < DEPTH and child.expected_s + expected_s <= AHEAD_S)


def _pieces(taken: list[InHand]) -> list[Piece]:
    """What a child had in hand, in its order: tasks that follow one another in a run stay together."""
    pieces: list[Piece] = []
    for held in taken:
        last_run, last = pieces[-1] if pieces else (None, range(0))
        if held.run is last_run and held.position == last.stop:
            pieces[-1] = held.run, range(last.start, last.stop + 1)
        else:
            pieces.append((held.run, range(held.position, held.position + 1)))
    return pieces


async def _started(start: Callable[[], Awaitable[T]]) -> T | ConfigError:
    """What was started, or why it was not, as a value: one failure must not leave its siblings unowned."""
    try:
        return await start()
    except ConfigError as error:
        return error
    except (ChildLost, OSError) as error:
        return ConfigError([f"a child ended while it loaded the handlers ({error!r}). Look at its output above."])
