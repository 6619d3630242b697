"""What runs here, and what waits for that: before a breaker that is open, for room, or for the end of a drain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Protocol

from broker.config.settings import Settings
from broker.metrics import Family
from protocol.errors import ErrorCode
from worker.context import Current
from worker.execution.breaker_gate import Guards, Kept
from worker.execution.executor import Executor, SeriesExecutor
from worker.execution.handler import Call, Ran, Series, fallback_of
from worker.execution.outcome import Failed, Outcome
from worker.execution.slots import Slots
from worker.failpoint import failpoint
from worker.intake.ledger import Running
from worker.intake.whole import Whole


class Owner(Protocol):
    """Who submits runs, and hears what becomes of each: one of these, once."""

    def ended(self, running: Running, outcome: Outcome, ran_s: float) -> None:
        """It ran so many seconds, and something follows from how that ended."""

    def ended_of_whole(self, whole: Whole, ended: list[Ran]) -> None:
        """So some of its tasks ended, which were submitted as a whole."""

    def postpone(self, running: Running, delay_s: float) -> None:
        """It ran, and is to run again, as the same attempt, at the end of its queue."""

    def give_back(self, running: Running) -> None:
        """It did not begin, and is to come again."""

    def over(self, running: Running) -> None:
        """Nothing more is done about it here: the broker hands it to somebody else."""


class Runs:
    """Life: ``submit`` → ``drain`` → ``give_back_held``, and at any time ``stop``."""

    def __init__(
        self, settings: Settings, executors: Mapping[str, Executor], slots: int | None, owner: Owner
    ) -> None:
        """``executors`` maps each task of this worker to what runs it; ``slots``: how many may run at once where
        the executors do not bound it."""
        self._series_executors = {
            task: executor for task, executor in executors.items() if isinstance(executor, SeriesExecutor)
        }
        self._executors = set(executors.values())
        self._owner = owner
        self._slots = Slots(slots, lambda calls: executors[calls[0].context.task].submit(calls))
        self._guards = Guards(settings, executors, self)
        self._terms = {task: _terms(settings, task) for task in executors}
        self._draining = False
        self._holding = True
        self._held: list[Running] = []
        self._stopped = False

    @property
    def busy(self) -> int:
        """Tasks that run."""
        return sum(executor.busy for executor in self._executors)

    def families(self) -> Iterator[Family]:
        """The numbers of the breakers."""
        return self._guards.families()

    def submit(self, runs: list[Running]) -> None:
        """Have tasks of one name run as soon as there is room and no breaker is open."""
        if self._draining:
            for running in runs:
                self._put_back(running)
        else:
            self._guards.admit(runs)

    def takes_whole(self, task: str) -> bool:
        """Whether batches of this task may be submitted as a whole."""
        return (
            not self._draining
            and self._slots.is_unbounded
            and not self._guards.guards(task)
            and task in self._series_executors
        )

    def submit_whole(self, whole: Whole) -> None:
        """Have its tasks run one after another as soon as there is room."""
        task = whole.batch.task
        queue, max_attempts, timeout_s = self._terms[task.name]
        ended = partial(self._ended_of_whole, whole)
        series = Series(task.name, queue, max_attempts, whole.arguments, timeout_s, task.expires_at, ended)
        self._series_executors[task.name].submit_series(series)

    def drain(self) -> None:
        """Begin nothing any more. What has not begun is held until ``give_back_held``: given back while the
        consumers are there it would come again at once."""
        self._draining = True
        self._withdraw()
        self._held.extend(self._guards.withdraw())

    def give_back_held(self) -> None:
        """Give back what is held, and what comes from now on."""
        self._holding = False
        held, self._held = self._held, []
        for running in held:
            self._owner.give_back(running)

    def stop(self) -> None:
        """Nobody hears any more of what runs."""
        self._stopped = True
        self._guards.withdraw()

    def _withdraw(self) -> None:
        """What has not begun is held."""
        self._slots.withdraw()
        for executor in self._executors:
            executor.withdraw()

    def take_back(self) -> None:
        """A breaker has opened: what has not begun is begun anew, or not."""
        # Not now: an executor may be in the middle of telling how its calls ended.
        asyncio.get_running_loop().call_soon(self._take_back)

    def give_back(self, running: Running) -> None:
        """A breaker does not hold it."""
        self._owner.give_back(running)

    def over(self, running: Running) -> None:
        """A breaker held it, and need not any more."""
        self._owner.over(running)

    def _take_back(self) -> None:
        if self._draining or self._stopped:
            return
        self._withdraw()
        held, self._held = self._held, []
        for running in held:
            self.submit([running])

    def _put_back(self, running: Running) -> None:
        if self._holding:
            self._held.append(running)
        else:
            self._owner.give_back(running)

    def begin(self, runs: list[Running], *, by_fallback: bool) -> None:
        """Have tasks of one name run as soon as there is room."""
        self._slots.add([self._call(running, by_fallback) for running in runs])

    def _call(self, running: Running, by_fallback: bool) -> Call:
        task = running.task
        handler = fallback_of(task.name) if by_fallback else task.name
        queue, max_attempts, timeout_s = self._terms[task.name]
        context = Current(task.id, task.name, queue, task.attempt, max_attempts)
        return Call(context, handler, task.body, timeout_s, task.expires_at, partial(self._ended, running))

    def _ended(self, running: Running, outcome: Outcome | None, ran_s: float) -> None:
        self._slots.release()
        if self._stopped:
            return
        if self._draining and isinstance(outcome, Failed) and outcome.code is ErrorCode.WORKER_LOST:
            # Whatever stops this worker has ended its child as well: the task was interrupted, it did not fail.
            outcome = None
        if outcome is None:
            self._guards.forget(running)
            self._put_back(running)
            return
        failpoint("after_work")
        match self._guards.keep(running, outcome):
            case None:
                self._owner.ended(running, outcome, ran_s)
            case Kept.INSTEAD if not self._draining:
                self.begin([running], by_fallback=True)
            case Kept.LATER | Kept.INSTEAD:
                self._guards.forget(running)
                self._owner.postpone(running, self._guards.away_s(running))

    def _ended_of_whole(self, whole: Whole, ended: list[Ran]) -> None:
        if self._stopped:
            return
        ran = [one for one in ended if one[1] is not None]
        if ran:
            failpoint("after_work", len(ran))
            self._owner.ended_of_whole(whole, ran)
        if len(ran) < len(ended):
            for task_id, outcome, _ in ended:
                if outcome is None:
                    self._put_back(whole.single_out(task_id))


def _terms(settings: Settings, task: str) -> tuple[str, int, float]:
    """Of a task its queue, how often it is run at most, and its time limit in seconds."""
    terms = settings.tasks[task]
    return terms.queue, terms.retry.max_retries + 1, terms.timeout_s
