"""Numbers as Prometheus reads them. Families are plain data; the library is imported when they are written."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from broker.amqp.traffic import Traffic

if TYPE_CHECKING:
    from prometheus_client.core import Metric

#: Upper bounds of the buckets, from a quick function to the longest that a broker waits for an ack.
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


@dataclass(slots=True)
class Histogram:
    """How many durations fell below each of ``BOUNDS_S``, and their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_s: float = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def observe_all(self, seconds: Sequence[float]) -> None:
        """Many, at least one."""
        lowest, highest = bisect_left(BOUNDS_S, min(seconds)), bisect_left(BOUNDS_S, max(seconds))
        if lowest == highest:
            self.counts[lowest] += len(seconds)
        else:
            for one in seconds:
                self.counts[bisect_left(BOUNDS_S, one)] += 1
        self.sum_s += sum(seconds)

    def copy(self) -> Histogram:
        return Histogram(list(self.counts), self.sum_s)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. ``name`` is without a counter's ``_total``; ``samples``: values of the labels, and the value."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Sequence[tuple[tuple[str, ...], float | Histogram]]
    labels: tuple[str, ...] = ()


def single(name: str, kind: Literal["counter", "gauge"], text: str, value: float) -> Family:
    """A metric without labels."""
    return Family(name, kind, text, [((), value)])


def publishes(prefix: str, traffic: Traffic) -> Iterator[Family]:
    """What became of a link's publishes."""
    yield single(f"{prefix}_published", "counter", "Messages sent to the broker.", traffic.published)
    fates = [((fate,), getattr(traffic, fate)) for fate in ("confirmed", "returned", "nacked", "lost")]
    yield Family(
        f"{prefix}_publishes",
        "counter",
        "Messages by the broker's answer; lost: the channel ended before it.",
        fates,
        ("outcome",),
    )


class Collector:
    """For a registry of prometheus_client: ``register(Collector(lambda: families(dispatcher.metrics)))``."""

    def __init__(self, read: Callable[[], Iterable[Family]]) -> None:
        """``read`` is called for each scrape, by whatever thread serves it."""
        self._read = read

    def describe(self) -> list[Metric]:
        """Nothing: the library would read it from ``collect`` while it is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        return map(_metric, self._read())


def page(families: Iterable[Family], *, process: bool = False) -> tuple[str, bytes]:
    """Content type and text of a page of these. ``process``: and memory, CPU and files of this process (Linux)."""
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

    known = list(families)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(lambda: known))
    if process:
        ProcessCollector(registry=registry)
    return CONTENT_TYPE_PLAIN_0_0_4, generate_latest(registry)


def _metric(family: Family) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for labels, value in family.samples:
            assert isinstance(value, Histogram)
            histogram.add_metric(labels, list(_cumulated(value)), value.sum_s)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, value in family.samples:
        assert not isinstance(value, Histogram)
        metric.add_metric(labels, value)
    return metric


def _cumulated(histogram: Histogram) -> Iterator[tuple[str, float]]:
    below = 0
    for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), histogram.counts, strict=True):
        below += count
        yield bound, below
