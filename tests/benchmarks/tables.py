"""Figures as tables: a head, and rows of cells, the same in the terminal and on the page. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tests.benchmarks.figures import Figures, Latency, Rate, Spread
from tests.benchmarks.goals import GOALS, Goal

#: With more than this taken by others, a machine is not quiet enough to measure on.
QUIET_CORES = 0.2

#: Head and rows.
Table = tuple[tuple[str, ...], Sequence[tuple[str, ...]]]

_NONE = "–"
_NOT_MEASURED = "not measured"
#: Of all cores in use: no more can be had.
_FULL = 0.75


def _rates(figures: Figures) -> Table:
    celery = max((one.tasks_per_s.median for one in figures.rates if "celery" in one.contestant), default=None)

    def row(one: Rate) -> tuple[str, ...]:
        share = None if one.broker_cores is None else one.broker_cores / figures.about.cores
        return (
            one.contestant,
            f"{one.tasks_per_s.median:,.0f}",
            f"{one.tasks_per_s.low:,.0f}-{one.tasks_per_s.high:,.0f}",
            _NONE if celery is None else f"{one.tasks_per_s.median / celery:.1f}",
            _spread(one.of_bare),
            _spread(one.of_ours),
            _whole(one.requester_cpu_us),
            _whole(one.worker_cpu_us),
            _whole(one.broker_cpu_us),
            _NONE if share is None else f"{share:.0%}",
        )

    head = ("at load", "tasks/s", "spread", "× Celery", "× bare", "× thread", "asks µs", "works µs", "broker µs")
    return (*head, "broker's CPU"), [row(one) for one in figures.rates]


def _rests(figures: Figures) -> Table:
    head = ("at rest", "p50 ms", "p99 ms", "p50 × bare")
    return head, [(*_latency(one), _spread(one.of_bare)) for one in figures.rests]


def _halves(figures: Figures) -> Table:
    head = ("at half load", "calls/s", "p50 ms", "p99 ms")
    return head, [(one.contestant, f"{one.calls_per_s or 0:,.0f}", *_latency(one)[1:]) for one in figures.halves]


def _latency(one: Latency) -> tuple[str, str, str]:
    return one.contestant, f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}"


def _starts(figures: Figures) -> Table:
    return ("worker", "ready s", "idle MB", "processes"), [
        (one.contestant, f"{one.ready_s:.2f}", _whole(one.idle_mb), str(one.processes or _NONE))
        for one in figures.starts
    ]


def _one_ways(figures: Figures) -> Table:
    return ("one way", "published/s", "consumed/s"), [
        (one.contestant, f"{one.published_per_s:,.0f}", f"{one.consumed_per_s:,.0f}") for one in figures.one_ways
    ]


def _workers(figures: Figures) -> Table:
    alone = {one.contestant: one.tasks_per_s.median for one in figures.rates}
    return ("worker processes", "1: tasks/s", "2: tasks/s", "ratio"), [
        (
            one.contestant,
            f"{alone[one.contestant]:,.0f}",
            f"{one.tasks_per_s:,.0f}",
            f"{one.tasks_per_s / alone[one.contestant]:.2f}",
        )
        for one in figures.workers
    ]


def _maps(figures: Figures) -> Table:
    """The first, the last, and some of those between."""
    points = figures.maps
    shown = [point for number, point in enumerate(points) if number % max(1, len(points) // 4) == 0]
    shown += [points[-1]] if points and points[-1] not in shown else []
    return ("tasks done by one `map`", "dispatcher MB", "worker MB"), [
        (f"{point.tasks:,}", f"{point.requester_mb:.1f}", f"{point.worker_mb:.1f}") for point in shown
    ]


def _sleeping(figures: Figures) -> Table:
    return ("workers, one task of 0.1 s at a time", "tasks", "seconds", "ideal", "of the ideal"), [
        (
            str(one.workers),
            str(one.tasks),
            f"{one.seconds:.2f}",
            f"{one.ideal_s:.2f}",
            f"{one.ideal_s / one.seconds:.1%}",
        )
        for one in figures.sleeping
    ]


def _goals(figures: Figures) -> Table:
    return ("goal", "limit", "measured", "reached"), [_goal(goal, goal.value(figures)) for goal in GOALS]


def _goal(goal: Goal, value: float | None) -> tuple[str, ...]:
    limit = f"{'≥' if goal.is_least else '≤'} {goal.limit:g}"
    if value is None:
        return goal.text, limit, _NOT_MEASURED, _NONE
    return goal.text, limit, f"{value:.2f}", "yes" if goal.reached(value) else "**no**"


def _contestants(figures: Figures) -> Table:
    rows = [(name, words) for name, words in figures.contestants.items()]
    return ("contestant", "configuration"), rows + [
        (name, f"not here: {why}") for name, why in figures.missing.items()
    ]


def _about(figures: Figures) -> Table:
    about = figures.about
    return ("measured", about.at), [
        ("RabbitMQ", about.rabbitmq),
        ("Python", about.python),
        ("machine", f"{about.system}, {about.machine}, {about.cores} cores"),
        (
            "plan",
            f"{about.plan.rounds} rounds, {about.plan.seconds:g} s each, {about.plan.window} tasks in progress",
        ),
        ("all other processes took", _NONE if figures.elsewhere_cores is None else _cores(figures)),
        *((f"`{name}`", version) for name, version in about.versions.items()),
    ]


def _cores(figures: Figures) -> str:
    verdict = "" if (figures.elsewhere_cores or 0) <= QUIET_CORES else ": too much to trust the figures"
    return f"{figures.elsewhere_cores:.1f} of {figures.about.cores} cores{verdict}"


def _life(figures: Figures) -> Table:
    return ("one call at rest", "call → handler begins µs", "handler begins → result in hand µs"), [
        (one.executor, f"{one.there_us:.0f}", f"{one.back_us:.0f}") for one in figures.life
    ]


def _costs(figures: Figures) -> Table:
    """CPU of a task by who spends it, and what each thing adds."""
    rates = {one.contestant: one for one in figures.rates}

    def us(name: str, part: str) -> float | None:
        return getattr(rates[name], part) if name in rates else None

    rows = [
        ("the broker: two messages in, two out, a confirm and an ack (C client)", us("C client", "broker_cpu_us")),
        ("asking, on bare pika", us("bare", "requester_cpu_us")),
        ("asking, our dispatcher", us("async", "requester_cpu_us")),
        ("working, on bare pika", us("bare", "worker_cpu_us")),
        ("working, our worker with the async executor", us("async", "worker_cpu_us")),
        ("… a thread adds", _minus(us("thread", "worker_cpu_us"), us("async", "worker_cpu_us"))),
        ("… a process adds", _minus(us("process", "worker_cpu_us"), us("async", "worker_cpu_us"))),
        ("asking, in batches of 50", us("batch 50", "requester_cpu_us")),
        ("working, in batches of 50", us("batch 50", "worker_cpu_us")),
        ("the broker, in batches of 50", us("batch 50", "broker_cpu_us")),
        ("asking, Celery", us("celery solo", "requester_cpu_us")),
        ("working, Celery solo", us("celery solo", "worker_cpu_us")),
        ("the broker, for Celery solo", us("celery solo", "broker_cpu_us")),
    ]
    return ("CPU of one task at full load", "µs"), [
        (text, f"{value:.1f}" if value < 10 else f"{value:.0f}") for text, value in rows if value is not None
    ]


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


TABLES: Mapping[str, Callable[[Figures], Table]] = {
    "rates": _rates,
    "goals": _goals,
    "rests": _rests,
    "halves": _halves,
    "life": _life,
    "costs": _costs,
    "starts": _starts,
    "one-ways": _one_ways,
    "workers": _workers,
    "maps": _maps,
    "sleeping": _sleeping,
    "contestants": _contestants,
    "about": _about,
}


def bottleneck(figures: Figures) -> list[str]:
    """A sentence on each contestant that the broker holds back."""
    return [sentence for one in figures.rates if (sentence := _held_back(one, figures.about.cores)) is not None]


def _held_back(one: Rate, cores: int) -> str | None:
    """The broker takes more CPU than requester and worker together, and the machine has little left."""
    if one.requester_cpu_us is None or one.worker_cpu_us is None or one.broker_cpu_us is None:
        return None
    own_us, broker_us = one.requester_cpu_us + one.worker_cpu_us, one.broker_cpu_us
    used = one.tasks_per_s.median * (own_us + broker_us) / 1e6
    if broker_us <= own_us or used < _FULL * cores:
        return None
    return (
        f"{one.contestant}: the broker is the bottleneck. It takes {broker_us:.0f} of the "
        f"{own_us + broker_us:.0f} µs of CPU of each task, and {used:.1f} of {cores} cores are in use."
    )


def _spread(spread: Spread | None) -> str:
    return _NONE if spread is None else f"{spread.median:.2f} ({spread.low:.2f}-{spread.high:.2f})"


def _whole(value: float | None) -> str:
    return _NONE if value is None else f"{value:.0f}"
