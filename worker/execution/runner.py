"""What runs here, and what waits for that: behind an open breaker, for room, or for the end of a drain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from broker.config.settings import Settings
from broker.metrics import Family
from protocol.errors import ErrorCode
from protocol.limits import Limits
from worker.execution.breaker_gate import Gates, Verdict
from worker.execution.concurrency_limiter import ConcurrencyLimiter
from worker.execution.executor import Begun, Executor, Result, Run, Terms
from worker.execution.handler import fallback_of
from worker.execution.outcome import Failed, Outcome
from worker.failpoint import failpoint
from worker.intake.batch import Batch, Solo

_after_work = failpoint("after_work")


class Owner(Protocol):
    """Submits tasks, and gets what becomes of each: one of these, once."""

    def ended(self, batch: Batch, results: Sequence[Result]) -> None:
        """Tasks of a batch ran, by their positions in it."""

    def ended_alone(self, solo: Solo, outcome: Outcome, ran_s: float) -> None:
        """It ran for ``ran_s`` seconds."""

    def postpone(self, solo: Solo, delay_s: float) -> None:
        """It ran, and is to run again, as the same attempt, at the end of its queue."""

    def give_back(self, work: Batch | Solo) -> None:
        """It did not begin, and is to come again."""

    def over(self, solo: Solo) -> None:
        """Nothing more is done about it here: the broker hands it out again."""


class Runner:
    """Life: ``submit`` → ``drain`` → ``give_back_held``, and at any time ``stop``."""

    def __init__(
        self, settings: Settings, executors: Mapping[str, Executor], limit: int | None, owner: Owner
    ) -> None:
        """``executors`` maps each task of this worker to what runs it; ``limit``: how many may run at once where
        the executors do not bound it."""
        self._by_task = dict(executors)
        self._executors = set(executors.values())
        self._owner = owner
        self._limits: Limits = settings.limits.messages
        self._limiter = None if limit is None else ConcurrencyLimiter(limit, self._execute)
        self._gates = Gates(settings, executors, self)
        self._terms = {name: _terms(settings, name) for name in executors}
        self._draining = False
        self._holding = True
        self._held: list[Batch | Solo] = []
        self._stopped = False
        #: Sees to what must not run now, and says so. None: everything may.
        self.sees_to: Callable[[Batch | Solo], bool] | None = None

    @property
    def busy(self) -> int:
        """Tasks that run."""
        return sum(executor.busy for executor in self._executors)

    def families(self) -> Iterator[Family]:
        """The numbers of the breakers."""
        return self._gates.families()

    def submit(self, work: Batch | Solo) -> None:
        """Have it run as soon as there is room and no breaker is open."""
        name = work.task.name
        if self._draining:
            self._put_back(work)
        elif (gate := self._gates.by_task.get(name)) is not None:
            for solo in [work] if isinstance(work, Solo) else self._each(work):
                gate.admit(solo)
        elif isinstance(work, Solo):
            self.begin(work, by_fallback=False)
        elif self._limiter is None:
            self._by_task[name].submit(self._run_of_all(work))
        else:
            for position in range(len(work.ids)):
                self._limiter.add(self._run_of_one(work, position))

    def begin(self, solo: Solo, *, by_fallback: bool) -> None:
        """Have a task run as soon as there is room, whatever its breaker says."""
        if self.sees_to is not None and self.sees_to(solo):
            if (gate := self._gates.by_task.get(solo.task.name)) is not None:
                gate.forget(solo)
            return
        task = solo.task
        terms = self._terms[task.name]
        if by_fallback:
            terms = replace(terms, handler=fallback_of(task.name))
        run = Run(terms, [task.id], [task.body], task.attempt, task.expires_at, partial(self._ended_solo, solo))
        if self._limiter is None:
            self._execute(run)
        else:
            self._limiter.add(run)

    def drain(self) -> None:
        """Begin nothing any more. What has not begun is held until ``give_back_held``: given back while the
        consumers are there it would come again at once."""
        self._draining = True
        self._withdraw()
        self._held.extend(self._gates.withdraw())

    def give_back_held(self) -> None:
        """Give back what is held, and what comes from now on."""
        self._holding = False
        held, self._held = self._held, []
        for work in held:
            self._owner.give_back(work)

    def stop(self) -> None:
        """Report nothing any more of what runs."""
        self._stopped = True
        self._gates.withdraw()

    def take_back(self) -> None:
        """A breaker has opened: what has not begun is submitted again."""
        # Not now: an executor may be in the middle of reporting results.
        asyncio.get_running_loop().call_soon(self.review)

    def give_back(self, solo: Solo) -> None:
        """A breaker does not hold it."""
        self._owner.give_back(solo)

    def over(self, solo: Solo) -> None:
        """A breaker held it, and need not any more."""
        self._owner.over(solo)

    def _execute(self, run: Run) -> None:
        self._by_task[run.terms.task].submit(run)

    def _run_of_all(self, batch: Batch) -> Run:
        task = batch.task
        terms = self._terms[task.name]
        return Run(terms, batch.ids, batch.arguments, task.attempt, task.expires_at, partial(self._ended, batch))

    def _run_of_one(self, batch: Batch, position: int) -> Run:
        run = self._run_of_all(batch)
        run.ids, run.arguments = [batch.ids[position]], [batch.arguments[position]]
        run.on_results = partial(self._ended_at, batch, position)
        return run

    def _ended_at(self, batch: Batch, position: int, results: Sequence[Result]) -> None:
        [(_, outcome, ran_s)] = results
        self._release()
        self._ended(batch, [(position, outcome, ran_s)])

    def _ended(self, batch: Batch, results: Sequence[Result]) -> None:
        if self._stopped:
            return
        if self._draining:
            results = [*map(_unless_interrupted, results)]
        ran = [result for result in results if result[1] is not None]
        if ran:
            if _after_work:
                _after_work(len(ran))
            self._owner.ended(batch, ran)
        if len(ran) == len(results):
            return
        if len(results) == len(batch.ids) and not (ran or batch.solos):
            self._put_back(batch)
            return
        for position, outcome, _ in results:
            if outcome is None:
                self._put_back(batch.single_out(position, self._limits))

    def _ended_solo(self, solo: Solo, results: Sequence[Result]) -> None:
        self._release()
        if self._stopped:
            return
        [(_, outcome, ran_s)] = map(_unless_interrupted, results) if self._draining else results
        gate = self._gates.by_task.get(solo.task.name)
        if outcome is None:
            if gate is not None:
                gate.forget(solo)
            self._put_back(solo)
            return
        if _after_work:
            _after_work(1)
        match None if gate is None else gate.judge(solo, outcome):
            case None:
                self._owner.ended_alone(solo, outcome, ran_s)
            case Verdict.FALLBACK if not self._draining:
                self.begin(solo, by_fallback=True)
            case Verdict.LATER | Verdict.FALLBACK:
                assert gate is not None
                gate.forget(solo)
                self._owner.postpone(solo, gate.away_s)

    def _release(self) -> None:
        if self._limiter is not None:
            self._limiter.release()

    def _each(self, batch: Batch) -> list[Solo]:
        return [batch.single_out(position, self._limits) for position in range(len(batch.ids))]

    def _withdraw(self) -> None:
        """What has not begun is held."""
        if self._limiter is not None:
            self._limiter.withdraw()
        for executor in self._executors:
            executor.withdraw()

    def running(self) -> list[tuple[str, Begun]]:
        """What runs now, by the name of its executor's class."""
        return [(type(one).__name__, begun) for one in self._executors for begun in one.running()]

    def interrupt(self, ids: Collection[str]) -> None:
        """Stop those of these tasks that have begun."""
        for executor in self._executors:
            executor.interrupt(ids)

    def review(self, goes_back: Callable[[Batch | Solo], bool] = lambda _work: False) -> None:
        """Take back what has not begun, and submit again what may run. ``goes_back`` gives back what is
        not to, and says so. Not from within a report of results."""
        if self._draining or self._stopped:
            return
        self._withdraw()
        held, self._held = self._held, []
        for work in held:
            if not goes_back(work) and (self.sees_to is None or not self.sees_to(work)):
                self.submit(work)

    def _put_back(self, work: Batch | Solo) -> None:
        if self._holding:
            self._held.append(work)
        else:
            self._owner.give_back(work)


def _unless_interrupted(result: Result) -> Result:
    """While this worker stops, whatever stops it may end its children as well: then a task was interrupted, it did
    not fail."""
    position, outcome, ran_s = result
    if isinstance(outcome, Failed) and outcome.code is ErrorCode.WORKER_LOST:
        return position, None, ran_s
    return result


def _terms(settings: Settings, task: str) -> Terms:
    terms = settings.tasks[task]
    return Terms(task, task, terms.queue, terms.retry.max_retries + 1, terms.timeout_s)
