"""What a worker counts of its deliveries. Pure: no clock, no I/O.

Whatever a message says, the numbers of series stay bounded: a task that this worker does not run is ``unknown``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, get_args

from broker.metrics import Family, Histogram
from protocol.reply import Run
from protocol.task import Task

#: done: ran, and was answered. failed: for good, a dead letter. retried: a copy waits in the delay line.
#: postponed: the same, and is the same attempt: a breaker tried it in vain. refused: a dead letter, since it was
#: no task for this worker. answered_again: from memory. joined: came while the same task ran. stale: its ack came
#: too late, the broker hands it out again (a run that was done counts as well). cancelled: by an operator.
Fate = Literal[
    "done", "failed", "retried", "postponed", "refused", "answered_again", "joined", "stale", "cancelled"
]
FATES: tuple[Fate, ...] = get_args(Fate)
UNKNOWN = "unknown"


@dataclass(slots=True)
class RunFacts:
    """Of each run in its order: what its reply says, and how long it waited; when the first one began (epoch)."""

    runs: list[Run]
    queued_s: list[float]
    began_s: float


def run_facts(task: Task, worker: str, before_s: float, ran_s: Sequence[float], now_s: float) -> RunFacts:
    """``before_s``: how long earlier tasks of the same batch ran. The last of these has just ended. Milliseconds
    are rounded so that their sum over the batch is right."""
    ends_s = [*accumulate(ran_s, initial=before_s)]
    first_s = now_s - ends_s[-1]
    sent_s = task.sent_at / 1000 if task.sent_at else float("inf")
    queued_s = [max(0.0, first_s + end_s - sent_s) for end_s in ends_s[:-1]]
    runs: list[Run] = []
    last, shown_ms = None, int(1000 * before_s + 0.5)
    for waited_s, end_s in zip(queued_s, ends_s[1:], strict=True):
        queued_ms, ended_ms = int(1000 * waited_s), int(1000 * end_s + 0.5)
        ran_ms, shown_ms = ended_ms - shown_ms, ended_ms
        # Neighbours that say the same share it.
        if last is None or queued_ms != last.queued_ms or ran_ms != last.ran_ms:
            last = Run(
                attempts=task.attempt, worker=worker, queued_ms=queued_ms, ran_ms=ran_ms, replay=task.replay
            )
        runs.append(last)
    return RunFacts(runs, queued_s, first_s + before_s)


class Meter:
    """``ran`` for runs of a handler; ``ended`` once a task's fate is known."""

    def __init__(self, tasks: Iterable[str]) -> None:
        """``tasks``: the names that become labels."""
        names = dict.fromkeys((*tasks, UNKNOWN))
        # Each series is there from the start: Prometheus sees no increase in one that begins with 1.
        self._fates = Counter({(task, fate): 0 for task in names for fate in FATES})
        self._dead: Counter[tuple[str, str]] = Counter()
        #: By fate, over all tasks; and what else there is to count.
        self.counts: Counter[str] = Counter()
        self._ran = {task: Histogram() for task in names}
        self._queued = {task: Histogram() for task in names}

    def ran(self, task: Task, worker: str, before_s: float, ran_s: Sequence[float], now_s: float) -> RunFacts:
        """Runs of one name have ended, see ``run_facts``. How long they waited counts only for a first attempt
        that says when it was sent: later ones waited in the delay line on purpose."""
        facts = run_facts(task, worker, before_s, ran_s, now_s)
        name = task.name if task.name in self._ran else UNKNOWN
        self._ran[name].observe_all(ran_s)
        if task.attempt == 1 and task.sent_at:
            self._queued[name].observe_all(facts.queued_s)
        return facts

    def count(self, what: str, count: int = 1) -> None:
        """Count what is of the worker as a whole."""
        self.counts[what] += count

    def ended(self, task: object, fate: Fate, reason: str | None = None, *, count: int = 1) -> None:
        """``task`` is its name, as far as it has one. ``reason``: the code of the dead letter, if there is one."""
        name = self._name(task)
        self._fates[name, fate] += count
        self.counts["dead" if fate in ("failed", "refused") else fate] += count
        if reason is not None:
            self._dead[name, reason] += 1

    def families(self) -> Iterator[Family]:
        """Copies: what is counted afterwards does not change them."""
        yield Family(
            "glassrabbit_worker_deliveries",
            "counter",
            "Deliveries by what became of them.",
            list(self._fates.items()),
            ("task", "outcome"),
        )
        yield Family(
            "glassrabbit_worker_dead_letters",
            "counter",
            "Dead letters that this worker wrote, by reason.",
            list(self._dead.items()),
            ("task", "reason"),
        )
        for name, text, histograms in (
            ("run", "How long runs of the handler took.", self._ran),
            (
                "queue",
                "How long tasks waited from their first dispatch to the start of their first run.",
                self._queued,
            ),
        ):
            samples = [((task,), histogram.copy()) for task, histogram in histograms.items()]
            yield Family(f"glassrabbit_worker_{name}_seconds", "histogram", text, samples, ("task",))

    def _name(self, task: object) -> str:
        return task if isinstance(task, str) and task in self._ran else UNKNOWN
