"""What stands before the tasks of one circuit breaker: it lets them run, or holds them unacked.

What is held takes its place in the prefetch, so a queue of such tasks alone is consumed no further: *open* pauses
consuming, and the tasks wait in their queue. A run that fails while the breaker is not closed burns no attempt:
its task goes to the end of its queue, as the same attempt. So the next one that is tried is another one, and tasks
that fail for reasons of their own do not keep the others waiting.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Literal, Protocol

from broker.config.settings import Settings
from broker.metrics import Family
from worker.execution.breaker import Breaker, State, works
from worker.execution.outcome import Done, Failed, Outcome, Rejected, RetryAsked
from worker.intake.batch import Part
from worker.intake.ledger import Running

#: A task that goes to the end of its queue is away for so many times ``open_s``: at the next try it is somebody
#: else's turn.
TURNS_AWAY = 2

log = logging.getLogger("glassrabbit.worker")


class Kept(Enum):
    """What becomes of a task whose run is not settled: it goes to the end of its queue, or to its fallback."""

    LATER = "later"
    INSTEAD = "instead"


class Runner(Protocol):
    """Who runs tasks."""

    def begin(self, runs: list[Running], *, by_fallback: bool) -> None:
        """Run tasks of one name as soon as there is room."""

    def take_back(self) -> None:
        """Soon have what has not begun come to ``Guards.admit`` again."""

    def give_back(self, running: Running) -> None:
        """Have a task of a batch come again by itself."""

    def over(self, running: Running) -> None:
        """It was held, and the broker has given it to somebody else, or will."""


class Guard:
    """Life: ``admit`` and ``keep`` for each run, ``withdraw`` once. All of it on one loop."""

    def __init__(self, breaker: Breaker, name: str, runner: Runner) -> None:
        self.breaker = breaker
        self.name = name
        self._runner = runner
        self._held: deque[Running] = deque()
        self._tried: Running | None = None
        self._by_fallback: set[Running] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._tries = 0
        self._opened_s = 0.0
        #: Tasks that a fallback has answered.
        self.answered = 0

    @property
    def held(self) -> int:
        return len(self._held)

    def admit(self, runs: list[Running], has_fallback: bool) -> None:
        """Begin tasks of one name, or hold them. With a fallback that answers instead."""
        if self.breaker.state is State.CLOSED:
            self._runner.begin(runs, by_fallback=False)
            return
        if self.breaker.state is State.HALF_OPEN and self._tried is None:
            self._try(runs[0])
            runs = runs[1:]
        if has_fallback:
            self._by_fallback.update(runs)
            if runs:
                self._runner.begin(runs, by_fallback=True)
            return
        for running in runs:
            self._hold(running)

    def keep(self, running: Running, outcome: Outcome, has_fallback: bool) -> Kept | None:
        """Hear how a run ended. Not None: nothing follows from that for the task but this."""
        is_well = works(outcome)
        if running in self._by_fallback:
            self._by_fallback.discard(running)
            self.answered += is_well is True
            return Kept.LATER if is_well is False else None
        if running is self._tried:
            self._tried = None
            self._on_tried(is_well, outcome)
        elif self.breaker.state is State.CLOSED:
            if is_well is not None and self.breaker.ended(is_well):
                self._opened(outcome)
            return None
        if is_well is not False:
            return None
        if not has_fallback:
            return Kept.LATER
        self._by_fallback.add(running)
        return Kept.INSTEAD

    def forget(self, running: Running) -> None:
        """A run that was to begin is not."""
        self._by_fallback.discard(running)
        if running is self._tried:
            self._tried = None

    def withdraw(self) -> list[Running]:
        """What is held. From now on nothing is tried."""
        if self._timer is not None:
            self._timer.cancel()
        held, self._held = list(self._held), deque()
        return held

    def _hold(self, running: Running) -> None:
        if isinstance(running.deliveries[0], Part):
            # A batch is acked with its last task: held, it would keep those that are done from being settled.
            self._runner.give_back(running)
            return
        self._held.append(running)
        running.is_held = True
        running.tell_over()

    def _begin(self, running: Running) -> None:
        running.is_held = False
        self._runner.begin([running], by_fallback=False)

    def _opened(self, outcome: Outcome) -> None:
        self._tries, self._opened_s = 0, time.monotonic()
        settings = self.breaker.settings
        log.warning(
            "breaker %s opens: %d of the last %d runs failed, at last with %s; its tasks wait, and one is tried "
            "every %g s",
            self.name,
            self.breaker.failed,
            settings.runs,
            _reason(outcome),
            settings.open_s,
        )
        self._wait()
        self._runner.take_back()

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.breaker.settings.open_s, self._half_open)

    def _half_open(self) -> None:
        self.breaker.half_open()
        self._try_next()

    def _try_next(self) -> None:
        """Try the one that waits longest, or whichever comes next if none does."""
        while self._held and self._tried is None:
            running = self._held.popleft()
            if running.is_live:
                self._try(running)
            else:
                self._runner.over(running)

    def _try(self, running: Running) -> None:
        self._tries += 1
        self._tried = running
        self._begin(running)

    def _on_tried(self, is_well: bool | None, outcome: Outcome) -> None:
        if is_well is None:
            self._try_next()
            return
        self.breaker.tried(is_well)
        if not is_well:
            log.debug("breaker %s stays open: %s", self.name, _reason(outcome))
            self._wait()
            return
        log.warning(
            "breaker %s closes after %.1f s and %d tries: what waited is run",
            self.name,
            time.monotonic() - self._opened_s,
            self._tries,
        )
        held, self._held = self._held, deque()
        for running in held:
            if running.is_live:
                self._begin(running)
            else:
                self._runner.over(running)


def _reason(outcome: Outcome) -> str:
    """Its kind. Its text is the handler's, and may hold what no log should."""
    match outcome:
        case Failed() | Rejected():
            return outcome.type
        case RetryAsked():
            return "Retry"
        case Done():
            return "nothing"


class Guards:
    """The guards of a worker's tasks: one for each breaker that the configuration names with them."""

    def __init__(self, settings: Settings, tasks: Iterable[str], runner: Runner) -> None:
        """``tasks``: the names of those that this worker runs."""
        self._runner = runner
        names = {task: name for task in tasks if (name := settings.tasks[task].breaker) is not None}
        self._all = [
            Guard(Breaker(settings.breakers[name]), name, runner) for name in dict.fromkeys(names.values())
        ]
        by_name = {guard.name: guard for guard in self._all}
        self._of = {task: by_name[name] for task, name in names.items()}
        self._with_fallback = {task for task in names if settings.tasks[task].fallback is not None}

    def guards(self, task: str) -> bool:
        """Whether a breaker may hold tasks of this name."""
        return task in self._of

    def admit(self, runs: list[Running]) -> None:
        """Begin tasks of one name, unless a breaker holds them."""
        name = runs[0].task.name
        guard = self._of.get(name)
        if guard is None:
            self._runner.begin(runs, by_fallback=False)
        else:
            guard.admit(runs, name in self._with_fallback)

    def keep(self, running: Running, outcome: Outcome) -> Kept | None:
        """Hear how a run ended. Not None: nothing follows from that for the task but this."""
        name = running.task.name
        guard = self._of.get(name)
        return None if guard is None else guard.keep(running, outcome, name in self._with_fallback)

    def away_s(self, running: Running) -> float:
        """How long a task is away that goes to the end of its queue."""
        return TURNS_AWAY * self._of[running.task.name].breaker.settings.open_s

    def forget(self, running: Running) -> None:
        """A run that was to begin is not."""
        if (guard := self._of.get(running.task.name)) is not None:
            guard.forget(running)

    def withdraw(self) -> list[Running]:
        """Everything that is held. From now on nothing is tried."""
        return [running for guard in self._all for running in guard.withdraw()]

    def families(self) -> Iterator[Family]:
        """State, openings, held tasks and answers of fallbacks, by breaker; nothing without breakers."""
        if not self._all:
            return
        for name, kind, text, value in _FAMILIES:
            samples = [((guard.name,), value(guard)) for guard in self._all]
            yield Family(f"glassrabbit_worker_breaker_{name}", kind, text, samples, ("breaker",))


_LEVELS = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}
_FAMILIES: tuple[tuple[str, Literal["gauge", "counter"], str, Callable[[Guard], int]], ...] = (
    ("state", "gauge", "0: closed, 1: half open, 2: open.", lambda guard: _LEVELS[guard.breaker.state]),
    ("openings", "counter", "How often it opened.", lambda guard: guard.breaker.openings),
    ("held", "gauge", "Tasks that wait in the worker for it to close.", lambda guard: guard.held),
    ("answers", "counter", "Tasks that a fallback has answered.", lambda guard: guard.answered),
)
