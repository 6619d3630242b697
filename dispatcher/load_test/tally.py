"""What became of the tasks of a load test. Pure: ends and times go in."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from dispatcher.errors import UnknownTask
from dispatcher.load_test.histogram import Histogram
from dispatcher.load_test.plan import Plan
from dispatcher.metrics import Metrics
from dispatcher.pending import Accepted, End
from protocol.reply import Reply

SCHEMA = 1
#: Names of workers and errors that are counted apart: they come from outside.
_NAMES = 1000
_OTHERS = "(others)"


@dataclass(slots=True)
class Tally:
    """Counts so far. Every task that was sent ends as done, failed, returned, refused or lost."""

    sent: int = 0
    done: int = 0
    failed: int = 0
    #: No queue takes them; the broker or the dispatcher did not take them; nobody knows what became of them.
    returned: int = 0
    refused: int = 0
    lost: int = 0
    #: Tasks that took more than one attempt, and how many more.
    retried: int = 0
    retries: int = 0
    ran_ms: int = 0
    first_s: float | None = None
    workers: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    #: Of what was answered or lost: a lost task counts with as long as it was waited for.
    latencies: Histogram = field(default_factory=Histogram)
    #: Ends in each second since the start.
    seconds: list[int] = field(default_factory=list)

    @property
    def ended(self) -> int:
        return self.done + self.failed + self.returned + self.refused + self.lost

    def end(self, end: End, latency_s: float, after_s: float) -> None:
        """``latency_s`` since it was due, ``after_s`` since the start of the test."""
        match end:
            case Reply():
                self._answered(end)
                self.first_s = after_s if self.first_s is None else self.first_s
                self.latencies.add(latency_s * 1000)
            case Accepted():
                raise AssertionError("a load test asks for replies")
            case UnknownTask():
                self.returned += 1
                _count(self.errors, type(end).__name__)
            case _ if end.outcome_known:
                self.refused += 1
                _count(self.errors, type(end).__name__)
            case _:
                self.lost += 1
                _count(self.errors, type(end).__name__)
                self.latencies.add(latency_s * 1000)
        self.seconds += [0] * (int(after_s) + 1 - len(self.seconds))
        self.seconds[int(after_s)] += 1

    def _answered(self, reply: Reply) -> None:
        run = reply.run
        if reply.failure is None:
            self.done += 1
        else:
            self.failed += 1
            _count(self.errors, reply.failure.code)
        self.retried += run.attempts > 1
        self.retries += max(0, run.attempts - 1)
        self.ran_ms += run.ran_ms
        _count(self.workers, run.worker)

    def live(self, after_s: float) -> str:
        """One line for a person who looks on."""
        now = self.seconds[int(after_s) - 1] if 0 < int(after_s) <= len(self.seconds) else 0
        return (
            f"{after_s:.0f} s: sent {self.sent} · done {self.done} · failed {self.failed} · lost {self.lost} · "
            f"in progress {self.sent - self.ended} · {now}/s · p95 {self.latencies.percentile(95):.1f} ms"
        )

    def to_map(self, plan: Plan, metrics: Metrics, wall_s: float, memory_mib: float | None) -> dict[str, Any]:
        """The run as data: what ``--out`` writes."""
        messages = asdict(metrics)
        return {
            "schema": SCHEMA,
            "plan": plan.to_map(),
            "tasks": {
                key: getattr(self, key)
                for key in ("sent", "done", "failed", "returned", "refused", "lost", "retried", "retries")
            }
            | {"duplicates": metrics.duplicates},
            "messages": {
                "sent": messages["published"],
                "accepted": messages["confirmed"],
                "returned": messages["returned"],
                "refused": messages["nacked"],
                "unconfirmed": messages["lost"],
            },
            "wall_s": round(wall_s, 3),
            "first_s": None if self.first_s is None else round(self.first_s, 3),
            "sequence_s": round(self.ran_ms / 1000, 3),
            "speed_up": round(self.ran_ms / 1000 / wall_s, 3) if wall_s else 0.0,
            "throughput": round((self.done + self.failed) / wall_s, 3) if wall_s else 0.0,
            "success": round(self.done / self.sent, 6) if self.sent else 0.0,
            "memory_mib": None if memory_mib is None else round(memory_mib, 1),
            "latency_ms": self.latencies.to_map(),
            "histogram_ms": [list(bar) for bar in self.latencies.bars()],
            "workers": dict(self.workers.most_common()),
            "errors": dict(self.errors.most_common()),
            "ends_a_second": self.seconds,
        }


def _count(counter: Counter[str], name: str) -> None:
    counter[name if name in counter or len(counter) < _NAMES else _OTHERS] += 1
