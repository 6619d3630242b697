"""What a worker counts of its deliveries. Pure: no clock, no I/O.

Whatever a message says, the numbers of series stay bounded: a task that this worker does not run is ``unknown``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from broker.metrics import Family, Histogram
from protocol.task import Task

#: done: ran, and was answered. failed: for good, a dead letter. retried: a copy waits in the delay line.
#: postponed: the same, and is the same attempt: a breaker tried it in vain. refused: a dead letter, since it was
#: no task for this worker. answered_again: from memory. joined: came while the same task ran. stale: its ack came
#: too late, the broker hands it out again (a run that was done counts as well).
Fate = Literal["done", "failed", "retried", "postponed", "refused", "answered_again", "joined", "stale"]
FATES: tuple[Fate, ...] = (
    "done",
    "failed",
    "retried",
    "postponed",
    "refused",
    "answered_again",
    "joined",
    "stale",
)
UNKNOWN = "unknown"


class Meter:
    """``ran`` for each run of a handler, or ``ran_all`` for many; ``ended`` once a task's fate is known."""

    def __init__(self, tasks: Iterable[str]) -> None:
        """``tasks``: the names that become labels."""
        names = dict.fromkeys((*tasks, UNKNOWN))
        # Each series is there from the start: Prometheus sees no increase in one that begins with 1.
        self._fates = Counter({(task, fate): 0 for task in names for fate in FATES})
        self._dead: Counter[tuple[str, str]] = Counter()
        self._ran = {task: Histogram() for task in names}
        self._queued = {task: Histogram() for task in names}

    def ran(self, task: Task, started_ms: int, ran_s: float) -> None:
        """A run has ended. Its wait counts only for a first attempt that says when it was sent: later ones waited
        in the delay line on purpose."""
        name = task.name if task.name in self._ran else UNKNOWN
        self._ran[name].observe(ran_s)
        if task.attempt == 1 and task.sent_at:
            waited_ms = started_ms - task.sent_at
            self._queued[name].observe(waited_ms / 1000 if waited_ms > 0 else 0.0)

    def ran_all(self, task: Task, queued_s: Sequence[float], ran_s: Sequence[float]) -> None:
        """Runs of a batch have ended. Its tasks are first attempts."""
        name = task.name if task.name in self._ran else UNKNOWN
        self._ran[name].observe_all(ran_s)
        if task.sent_at:
            self._queued[name].observe_all(queued_s)

    def ended(self, task: object, fate: Fate, reason: str | None = None, *, count: int = 1) -> None:
        """``task`` is its name, as far as it has one. ``reason``: the code of the dead letter, if there is one."""
        name = self._name(task)
        self._fates[name, fate] += count
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
