"""Runs the contestants, round by round, and writes down what it sees. Computes nothing from it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.benchmarks.contestants import ALL, Contestant
from tests.benchmarks.place import Place
from tests.benchmarks.processes import Process, cpu_s

#: Bounds one question to a requester.
ANSWER_S = 45.0
#: No further round is begun after so long.
BUDGET_S = 130.0
_STARTS = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """What one round is: ``tasks`` with ``window`` under way, then ``calls`` one at a time."""

    rounds: int
    tasks: int
    window: int
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One contestant in one round. CPU in microseconds a task; None where it cannot be known."""

    contestant: str
    round: int
    tasks_per_s: float
    requester_cpu_us: float | None
    worker_cpu_us: float | None
    broker_cpu_us: float | None
    #: Milliseconds of each single call.
    calls_ms: list[float]


@dataclass(frozen=True, slots=True)
class Pair:
    """The two processes of a contestant, ready."""

    contestant: Contestant
    worker: Process
    requester: Process


def ready_times(place: Place) -> dict[str, list[float]]:
    """Seconds from the start of each worker until it consumes, a few times over."""
    times: dict[str, list[float]] = {one.name: [] for one in ALL}
    for _ in range(_STARTS):
        for one in ALL:
            with Process(one.worker, place.environment) as worker:
                times[one.name].append(worker.wait_ready())
    return times


@contextlib.contextmanager
def pairs(place: Place) -> Iterator[list[Pair]]:
    """All contestants, started and ready; those that are not measured at a moment only wait."""
    with contextlib.ExitStack() as stack:
        started = [
            Pair(
                one,
                stack.enter_context(Process(one.worker, place.environment)),
                stack.enter_context(Process(one.requester, place.environment)),
            )
            for one in ALL
        ]
        for pair in started:
            pair.worker.wait_ready()
            pair.requester.wait_ready()
        yield started


def rounds(place: Place, plan: Plan, started_s: float, on_round: Callable[[int], None]) -> list[Sample]:
    """One round to warm up, which does not count, then those of the plan, as far as the time allows.

    Each round runs all contestants, every other one in reverse, so that a machine that gets slower or faster
    meanwhile does not favour anyone.
    """
    samples: list[Sample] = []
    with pairs(place) as contestants:
        for number in range(plan.rounds + 1):
            if number > 1 and time.monotonic() - started_s > BUDGET_S:
                break
            on_round(number)
            taken = [_sample(pair, number, plan, place) for pair in contestants]
            samples += taken if number else []
            contestants.reverse()
    return samples


def _sample(pair: Pair, number: int, plan: Plan, place: Place) -> Sample:
    def used() -> list[float | None]:
        return [pair.requester.cpu_s(), pair.worker.cpu_s(), cpu_s(place.pid)]

    before = used()
    (seconds,) = pair.requester.ask(ANSWER_S, tasks=plan.tasks, window=plan.window)
    requester, worker, broker = (
        None if start is None or end is None else (end - start) / plan.tasks * 1e6
        for start, end in zip(before, used(), strict=True)
    )
    calls = pair.requester.ask(ANSWER_S, tasks=plan.calls, window=1)
    return Sample(
        contestant=pair.contestant.name,
        round=number,
        tasks_per_s=plan.tasks / seconds,
        requester_cpu_us=requester,
        worker_cpu_us=worker,
        broker_cpu_us=broker,
        calls_ms=[call * 1000 for call in calls],
    )
