"""What the figures must show, and whether they do. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks.figures import Figures
from tests.benchmarks.work import PASSED_EACH

_CELERY = ("celery solo", "celery threads", "celery prefork")
_PEERS = (*_CELERY, "aio-pika", "faststream")


@dataclass(frozen=True, slots=True)
class Goal:
    """``value`` is None where the run did not measure it."""

    text: str
    is_least: bool
    limit: float
    value: Callable[[Figures], float | None]

    def reached(self, value: float) -> bool:
        return value >= self.limit if self.is_least else value <= self.limit


def _best_rate(figures: Figures, *names: str) -> float | None:
    return max((one.tasks_per_s.median for one in figures.rates if one.contestant in names), default=None)


def _best_p50(figures: Figures, *names: str) -> float | None:
    return min((one.p50_ms for one in figures.rests if one.contestant in names), default=None)


def _over(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value / other


def _faster(own: tuple[str, ...], others: tuple[str, ...]) -> Callable[[Figures], float | None]:
    return lambda figures: _over(_best_rate(figures, *own), _best_rate(figures, *others))


def _sooner(own: tuple[str, ...], others: tuple[str, ...]) -> Callable[[Figures], float | None]:
    return lambda figures: _over(_best_p50(figures, *own), _best_p50(figures, *others))


def _ready_s(figures: Figures, name: str) -> float | None:
    return next((one.ready_s for one in figures.starts if one.contestant == name), None)


def _idle_mb(figures: Figures, name: str) -> float | None:
    return next((one.idle_mb for one in figures.starts if one.contestant == name), None)


def _growth(figures: Figures) -> float | None:
    points = [point for point in figures.maps if point.tasks >= PASSED_EACH]
    if len(points) < 2:
        return None
    first, last = points[0], points[-1]
    return max(last.requester_mb / first.requester_mb, last.worker_mb / first.worker_mb)


def _efficiency(figures: Figures) -> float | None:
    return figures.sleeping[-1].ideal_s / figures.sleeping[-1].seconds if figures.sleeping else None


_ONE = ("thread", "async")
GOALS = (
    Goal("one task a message, thread or async: × Celery's best", True, 13, _faster(_ONE, _CELERY)),
    Goal("the same: × aio-pika's RPC", True, 6, _faster(_ONE, ("aio-pika",))),
    Goal("the same: × bare pika with the same guarantees", True, 1.4, _faster(_ONE, ("bare",))),
    Goal("the same: × the C client", True, 0.6, _faster(_ONE, ("C client",))),
    Goal("process executor: × Celery prefork", True, 10, _faster(("process",), ("celery prefork",))),
    Goal("batches of 50: × Celery's best", True, 80, _faster(("batch 50",), _CELERY)),
    Goal("batches by `auto`: × Celery's best", True, 150, _faster(("batch auto",), _CELERY)),
    Goal("p50 at rest, thread or async: × bare pika", False, 0.9, _sooner(_ONE, ("bare",))),
    Goal("the same: × the best of all peers", False, 1.0, _sooner(_ONE, _PEERS)),
    Goal("worker ready, process executor: seconds", False, 0.6, lambda figures: _ready_s(figures, "process")),
    Goal(
        "the same: × Celery as it comes",
        False,
        0.25,
        lambda figures: _over(_ready_s(figures, "process"), _ready_s(figures, "celery as it comes")),
    ),
    Goal(
        "idle worker with two children: × that of Celery as it comes",
        False,
        0.8,
        lambda figures: _over(_idle_mb(figures, "process"), _idle_mb(figures, "celery as it comes")),
    ),
    Goal("memory at the end of a long `map`: × that after 50,000 tasks", False, 1.2, _growth),
    Goal("tasks of 0.1 s on 8 workers: part of the ideal", True, 0.95, _efficiency),
)
