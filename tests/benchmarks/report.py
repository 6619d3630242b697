"""From samples to figures: medians, spreads and ratios. Pure.

A rate alone says as much about the machine and the hour as about us; the ratio to bare pika in the same round
is what can be compared with another day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from tests.benchmarks.contestants import ALL, BARE
from tests.benchmarks.measure import Sample

RATE_HEAD = ("at load", "tasks/s", "spread", "ratio", "spread", "requester µs", "worker µs", "broker µs")
REST_HEAD = ("at rest", "p50 ms", "p99 ms", "p50 ratio", "spread", "worker ready s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Of the rounds: the one in the middle, and the outermost."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One contestant. ``ratio`` and ``p50_ratio`` are to bare pika in the same round; CPU is per task."""

    contestant: str
    tasks_per_s: Spread
    ratio: Spread
    requester_cpu_us: float | None
    worker_cpu_us: float | None
    broker_cpu_us: float | None
    p50_ms: float
    p99_ms: float
    p50_ratio: Spread
    ready_s: float


def lines(samples: Sequence[Sample], ready_s: dict[str, list[float]]) -> list[Line]:
    """One for each contestant that has samples."""
    return [
        _line(one.name, samples, ready_s[one.name])
        for one in ALL
        if any(sample.contestant == one.name for sample in samples)
    ]


def _line(name: str, samples: Sequence[Sample], ready_s: list[float]) -> Line:
    own = [sample for sample in samples if sample.contestant == name]
    calls = sorted(call for sample in own for call in sample.calls_ms)
    return Line(
        contestant=name,
        tasks_per_s=_spread([sample.tasks_per_s for sample in own]),
        ratio=_spread(_ratios(own, samples, lambda sample: sample.tasks_per_s)),
        requester_cpu_us=_median(sample.requester_cpu_us for sample in own),
        worker_cpu_us=_median(sample.worker_cpu_us for sample in own),
        broker_cpu_us=_median(sample.broker_cpu_us for sample in own),
        p50_ms=median(calls),
        p99_ms=calls[len(calls) * 99 // 100],
        p50_ratio=_spread(_ratios(own, samples, lambda sample: median(sample.calls_ms))),
        ready_s=median(ready_s),
    )


def _ratios(own: Sequence[Sample], samples: Sequence[Sample], value: Callable[[Sample], float]) -> list[float]:
    bare = {sample.round: value(sample) for sample in samples if sample.contestant == BARE.name}
    return [value(sample) / bare[sample.round] for sample in own]


def _spread(values: Sequence[float]) -> Spread:
    return Spread(median=median(values), low=min(values), high=max(values))


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def rate_row(line: Line) -> tuple[str, ...]:
    """A line as cells under ``RATE_HEAD``."""
    rate, ratio = line.tasks_per_s, line.ratio
    return (
        line.contestant,
        f"{rate.median:,.0f}",
        f"{rate.low:,.0f}-{rate.high:,.0f}",
        f"{ratio.median:.2f}",
        f"{ratio.low:.2f}-{ratio.high:.2f}",
        _whole(line.requester_cpu_us),
        _whole(line.worker_cpu_us),
        _whole(line.broker_cpu_us),
    )


def rest_row(line: Line) -> tuple[str, ...]:
    """A line as cells under ``REST_HEAD``."""
    ratio = line.p50_ratio
    return (
        line.contestant,
        f"{line.p50_ms:.2f}",
        f"{line.p99_ms:.2f}",
        f"{ratio.median:.2f}",
        f"{ratio.low:.2f}-{ratio.high:.2f}",
        f"{line.ready_s:.2f}",
    )


def to_map(line: Line) -> dict[str, object]:
    """A line as ``bench.json`` holds it."""
    return asdict(line)


def _whole(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"
