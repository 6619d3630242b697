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
from worker.execution.breaker import Breaker, State, is_success
from worker.execution.outcome import Done, Failed, Outcome, Rejected, RetryAsked
from worker.intake.batch import Solo

#: A task that goes to the end of its queue is away for this many times ``open_s``: the next try is another's turn.
TURNS_AWAY = 2

log = logging.getLogger("glassrabbit.worker")


class Verdict(Enum):
    """What becomes of a task whose run is not settled: it goes to the end of its queue, or to its fallback."""

    LATER = "later"
    FALLBACK = "fallback"


class Runner(Protocol):
    """Runs tasks."""

    def begin(self, solo: Solo, *, by_fallback: bool) -> None:
        """Run a task as soon as there is room."""

    def take_back(self) -> None:
        """Soon have what has not begun come to ``Gate.admit`` again."""

    def give_back(self, solo: Solo) -> None:
        """Have a task of a batch come again by itself."""

    def over(self, solo: Solo) -> None:
        """It was held, and the broker hands it out again."""


class Gate:
    """Life: ``admit`` and ``judge`` for each run, ``withdraw`` once. All of it on one loop."""

    def __init__(self, breaker: Breaker, name: str, runner: Runner, with_fallback: Iterable[str]) -> None:
        """``with_fallback``: the tasks that have one."""
        self.breaker = breaker
        self.name = name
        self._runner = runner
        self._with_fallback = frozenset(with_fallback)
        self._held: deque[Solo] = deque()
        self._tried: Solo | None = None
        self._by_fallback: set[Solo] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._tries = 0
        self._opened_s = 0.0
        #: Tasks that a fallback has answered.
        self.answered = 0

    @property
    def held(self) -> int:
        return len(self._held)

    @property
    def away_s(self) -> float:
        """How long a task is away that goes to the end of its queue."""
        return TURNS_AWAY * self.breaker.settings.open_s

    def admit(self, solo: Solo) -> None:
        """Begin a task, or hold it. With a fallback that answers instead."""
        if self.breaker.state is State.CLOSED:
            self._runner.begin(solo, by_fallback=False)
        elif self.breaker.state is State.HALF_OPEN and self._tried is None:
            self._try(solo)
        elif solo.task.name in self._with_fallback:
            self._by_fallback.add(solo)
            self._runner.begin(solo, by_fallback=True)
        else:
            self._hold(solo)

    def judge(self, solo: Solo, outcome: Outcome) -> Verdict | None:
        """Take in how a run ended. Not None: nothing follows from that for the task but this."""
        is_well = is_success(outcome)
        if solo in self._by_fallback:
            self._by_fallback.discard(solo)
            self.answered += is_well is True
            return Verdict.LATER if is_well is False else None
        if solo is self._tried:
            self._tried = None
            self._on_tried(is_well, outcome)
        elif self.breaker.state is State.CLOSED:
            if is_well is not None and self.breaker.ended(is_well):
                self._opened(outcome)
            return None
        if is_well is not False:
            return None
        if solo.task.name not in self._with_fallback:
            return Verdict.LATER
        self._by_fallback.add(solo)
        return Verdict.FALLBACK

    def forget(self, solo: Solo) -> None:
        """A run that was to begin is not."""
        self._by_fallback.discard(solo)
        if solo is self._tried:
            self._tried = None

    def withdraw(self) -> list[Solo]:
        """What is held. From now on nothing is tried."""
        if self._timer is not None:
            self._timer.cancel()
        held, self._held = list(self._held), deque()
        return held

    def _hold(self, solo: Solo) -> None:
        if len(solo.home.ids) > 1:
            # A batch is acked with its last task: held, it would keep those that are done from being settled.
            self._runner.give_back(solo)
            return
        self._held.append(solo)
        solo.is_held = True
        solo.release()

    def _begin(self, solo: Solo) -> None:
        solo.is_held = False
        self._runner.begin(solo, by_fallback=False)

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
            solo = self._held.popleft()
            if solo.is_live:
                self._try(solo)
            else:
                self._runner.over(solo)

    def _try(self, solo: Solo) -> None:
        self._tries += 1
        self._tried = solo
        self._begin(solo)

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
        for solo in held:
            if solo.is_live:
                self._begin(solo)
            else:
                self._runner.over(solo)


def _reason(outcome: Outcome) -> str:
    """Its kind. Its text is the handler's, and may hold what no log should."""
    match outcome:
        case Failed() | Rejected():
            return outcome.type
        case RetryAsked():
            return "Retry"
        case Done():
            return "nothing"


class Gates:
    """The gates of a worker's tasks: one for each breaker that the configuration names with them."""

    def __init__(self, settings: Settings, tasks: Iterable[str], runner: Runner) -> None:
        """``tasks``: the names of those that this worker runs."""
        names = {task: name for task in tasks if (name := settings.tasks[task].breaker) is not None}
        with_fallback = [task for task in names if settings.tasks[task].fallback is not None]
        by_name = {
            name: Gate(Breaker(settings.breakers[name]), name, runner, with_fallback)
            for name in dict.fromkeys(names.values())
        }
        self._all = list(by_name.values())
        #: The gate of each task that has a breaker.
        self.by_task = {task: by_name[name] for task, name in names.items()}

    def withdraw(self) -> list[Solo]:
        """Everything that is held. From now on nothing is tried."""
        return [solo for gate in self._all for solo in gate.withdraw()]

    def families(self) -> Iterator[Family]:
        """State, openings, held tasks and answers of fallbacks, by breaker; nothing without breakers."""
        if not self._all:
            return
        for name, kind, text, value in _FAMILIES:
            samples = [((gate.name,), value(gate)) for gate in self._all]
            yield Family(f"glassrabbit_worker_breaker_{name}", kind, text, samples, ("breaker",))


_LEVELS = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}
_FAMILIES: tuple[tuple[str, Literal["gauge", "counter"], str, Callable[[Gate], int]], ...] = (
    ("state", "gauge", "0: closed, 1: half open, 2: open.", lambda gate: _LEVELS[gate.breaker.state]),
    ("openings", "counter", "How often it opened.", lambda gate: gate.breaker.openings),
    ("held", "gauge", "Tasks that wait in the worker for it to close.", lambda gate: gate.held),
    ("answers", "counter", "Tasks that a fallback has answered.", lambda gate: gate.answered),
)
