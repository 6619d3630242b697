"""From samples to figures: medians, spreads and ratios. Pure.

A rate alone says as much about the machine and the hour as about us; the ratio to another contestant in the same
round is what can be compared with another day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.benchmarks.contestants import BARE, THREAD
from tests.benchmarks.samples import Half, Load, MapMemory, OneWay, Plan, Raw, Sleeping, Start, Stations, Workers

SCHEMA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Of the rounds: the one in the middle, and the outermost."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At full load. Ratios are to others in the same round; CPU is in microseconds a task."""

    contestant: str
    tasks_per_s: Spread
    of_bare: Spread | None
    of_ours: Spread | None
    requester_cpu_us: float | None
    worker_cpu_us: float | None
    broker_cpu_us: float | None
    broker_cores: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Of single calls. ``calls_per_s`` is None at rest: there is one at a time."""

    contestant: str
    calls_per_s: float | None
    p50_ms: float
    p99_ms: float
    of_bare: Spread | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the figures depend on."""

    at: str
    rabbitmq: str
    python: str
    machine: str
    system: str
    cores: int
    prefetch: int
    versions: Mapping[str, str]
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All that is reported; what was not measured is empty."""

    about: About
    #: Contestant → its configuration, in words.
    contestants: Mapping[str, str]
    #: Contestant → why it is not here.
    missing: Mapping[str, str]
    #: What other processes of the machine took during the load, in the median.
    elsewhere_cores: float | None = None
    rates: Sequence[Rate] = field(default_factory=list)
    rests: Sequence[Latency] = field(default_factory=list)
    starts: Sequence[Start] = field(default_factory=list)
    halves: Sequence[Latency] = field(default_factory=list)
    one_ways: Sequence[OneWay] = field(default_factory=list)
    workers: Sequence[Workers] = field(default_factory=list)
    maps: Sequence[MapMemory] = field(default_factory=list)
    sleeping: Sequence[Sleeping] = field(default_factory=list)
    life: Sequence[Stations] = field(default_factory=list)
    schema: int = SCHEMA


def figures(about: About, contestants: Mapping[str, str], missing: Mapping[str, str], raw: Raw) -> Figures:
    """Contestants come in the order of ``contestants``."""
    return Figures(
        about=about,
        contestants=contestants,
        missing=missing,
        elsewhere_cores=_median(load.elsewhere_cores for load in raw.loads),
        rates=[_rate(name, raw.loads) for name in _names(contestants, raw.loads)],
        rests=[_rest(name, raw.loads) for name in _names(contestants, (one for one in raw.loads if one.calls_ms))],
        starts=[_start(name, raw.starts) for name in _names(contestants, raw.starts)],
        halves=[_half(one) for one in raw.halves],
        one_ways=raw.one_ways,
        workers=raw.workers,
        maps=raw.maps,
        sleeping=raw.sleeping,
        life=raw.life,
    )


def _names(contestants: Iterable[str], samples: Iterable[Load | Start]) -> list[str]:
    """Those that have samples."""
    seen = {sample.contestant for sample in samples}
    return [name for name in contestants if name in seen]


def _of(name: str, loads: Sequence[Load]) -> list[Load]:
    return [load for load in loads if load.contestant == name]


def _rate(name: str, loads: Sequence[Load]) -> Rate:
    own = _of(name, loads)
    broker = [None if load.broker_cpu_us is None else load.broker_cpu_us * load.tasks_per_s / 1e6 for load in own]
    return Rate(
        contestant=name,
        tasks_per_s=_spread([load.tasks_per_s for load in own]),
        of_bare=_ratio(own, _of(BARE.name, loads), lambda load: load.tasks_per_s),
        of_ours=_ratio(own, _of(THREAD.name, loads), lambda load: load.tasks_per_s),
        requester_cpu_us=_median(load.requester_cpu_us for load in own),
        worker_cpu_us=_median(load.worker_cpu_us for load in own),
        broker_cpu_us=_median(load.broker_cpu_us for load in own),
        broker_cores=_median(broker),
    )


def _rest(name: str, loads: Sequence[Load]) -> Latency:
    own = _of(name, loads)
    calls = [call for load in own for call in load.calls_ms]
    of_bare = _ratio(own, _of(BARE.name, loads), lambda load: median(load.calls_ms))
    return Latency(contestant=name, calls_per_s=None, p50_ms=median(calls), p99_ms=_p99(calls), of_bare=of_bare)


def _half(half: Half) -> Latency:
    calls = half.latencies_ms
    return Latency(
        contestant=half.contestant, calls_per_s=half.calls_per_s, p50_ms=median(calls), p99_ms=_p99(calls)
    )


def _start(name: str, starts: Sequence[Start]) -> Start:
    own = [start for start in starts if start.contestant == name]
    return Start(
        contestant=name,
        ready_s=median(start.ready_s for start in own),
        idle_mb=_median(start.idle_mb for start in own),
        processes=own[0].processes,
    )


def _ratio(own: Sequence[Load], others: Sequence[Load], value: Callable[[Load], float]) -> Spread | None:
    """To the other one in the same round; None if it did not run in each."""
    other = {load.round: value(load) for load in others}
    if any(load.round not in other for load in own):
        return None
    return _spread([value(load) / other[load.round] for load in own])


def _spread(values: Sequence[float]) -> Spread:
    return Spread(median=median(values), low=min(values), high=max(values))


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]
