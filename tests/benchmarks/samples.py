"""What is seen, as it is seen: one record for each measurement. Pure.

Times are in the unit of their names; what cannot be known on a machine is None.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run is. A round is single calls, then so many seconds of load with ``window`` tasks in progress."""

    rounds: int
    seconds: float
    window: int
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One contestant in one round. CPU in microseconds a task."""

    contestant: str
    round: int
    tasks_per_s: float
    requester_cpu_us: float | None
    worker_cpu_us: float | None
    broker_cpu_us: float | None
    #: What all other processes of the machine took meanwhile.
    elsewhere_cores: float | None
    #: Of each single call, at rest.
    calls_ms: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start of a worker, and its memory before its first task (PSS, with its children)."""

    contestant: str
    ready_s: float
    idle_mb: float | None
    processes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """Calls that are due at half the rate that a contestant has at full load; latency counts from when due."""

    contestant: str
    calls_per_s: float
    latencies_ms: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class OneWay:
    """Publishing with no worker there, then a worker that finds what was published. Nobody waits for replies."""

    contestant: str
    published_per_s: float
    consumed_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Rate of a contestant with so many worker processes."""

    contestant: str
    workers: int
    tasks_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MapMemory:
    """So many tasks of one ``map`` are done (PSS, with children)."""

    tasks: int
    requester_mb: float
    worker_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleeping:
    """Tasks of a tenth of a second on workers that run one at a time."""

    workers: int
    tasks: int
    seconds: float
    ideal_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stations:
    """Of a call at rest, in the median: until its handler begins, and from then until its result is in hand."""

    executor: str
    there_us: float
    back_us: float


@dataclass(frozen=True, slots=True)
class Raw:
    """A whole run; what was not measured is empty."""

    loads: list[Load] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    halves: list[Half] = field(default_factory=list)
    one_ways: list[OneWay] = field(default_factory=list)
    workers: list[Workers] = field(default_factory=list)
    maps: list[MapMemory] = field(default_factory=list)
    sleeping: list[Sleeping] = field(default_factory=list)
    life: list[Stations] = field(default_factory=list)
