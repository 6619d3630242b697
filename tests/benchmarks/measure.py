"""Runs the contestants, round by round, and writes down what it sees. Computes nothing from it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.benchmarks.contestants import Contestant
from tests.benchmarks.place import Place
from tests.benchmarks.processes import Process, cpu_s, machine_cpu_s
from tests.benchmarks.samples import Load, Plan, Start

#: Bounds one question to a requester.
ANSWER_S = 60.0
#: The first load of a contestant, from which the size of the next follows.
PROBE_TASKS = 200

_WARM_LOADS = 3

#: A broker is given so long to come to rest, which is looked for so often: less than so much of a core.
REST_S = 10.0
_LOOK_S, _QUIET_CORES = 0.5, 0.1


@dataclass(slots=True)
class Pair:
    """The two processes of a contestant, ready."""

    contestant: Contestant
    worker: Process
    requester: Process
    #: Of its latest load.
    tasks_per_s: float = field(default=0.0)

    def warm(self, plan: Plan) -> None:
        """Load it until the size of a load fits the seconds of the plan."""
        for _ in range(_WARM_LOADS):
            tasks = self.load(plan)
            if tasks >= self.tasks_per_s * plan.seconds / 2:
                return

    def load(self, plan: Plan) -> int:
        """Tasks for the seconds of the plan. Measures nothing that is reported; updates the rate."""
        tasks = max(PROBE_TASKS, round(self.tasks_per_s * plan.seconds))
        (seconds,) = self.requester.ask(ANSWER_S, do="many", tasks=tasks, window=plan.window)
        self.tasks_per_s = tasks / seconds
        return tasks


def start_worker(place: Place, one: Contestant, stack: contextlib.ExitStack) -> tuple[Process, Start]:
    """A worker that consumes; ``stack`` ends it."""
    worker = stack.enter_context(Process(one.worker, place.environment_of(one)))
    ready_s = worker.wait_ready(one.ready)
    memory = worker.memory()
    return worker, Start(
        contestant=one.name,
        ready_s=ready_s,
        idle_mb=None if memory is None else memory.megabytes,
        processes=None if memory is None else memory.processes,
    )


@contextlib.contextmanager
def pairs(place: Place, contestants: Sequence[Contestant], starts: list[Start]) -> Iterator[list[Pair]]:
    """All contestants, started one after the other; those that are not measured at a moment only wait."""
    with contextlib.ExitStack() as stack:
        started = []
        for one in contestants:
            worker, start = start_worker(place, one, stack)
            requester = stack.enter_context(Process(one.requester, place.environment_of(one)))
            requester.wait_ready()
            started.append(Pair(one, worker, requester))
            starts.append(start)
        yield started


def more_starts(place: Place, contestants: Sequence[Contestant], times: int) -> list[Start]:
    """Further starts of each worker, one at a time."""
    starts = []
    for _ in range(times):
        for one in contestants:
            with contextlib.ExitStack() as stack:
                starts.append(start_worker(place, one, stack)[1])
    return starts


def rounds(place: Place, contestants: list[Pair], plan: Plan, on_round: Callable[[int], None]) -> list[Load]:
    """A round to warm up, which does not count, then those of the plan.

    Each round runs all contestants, every other one in reverse, so that a machine that gets slower or faster
    meanwhile does not favour anyone. Single calls come first, one contestant after the other, on a broker that has
    come to rest: after a load it still writes, and the more the faster the load was.
    """
    loads: list[Load] = []
    order = list(contestants)
    on_round(0)
    for pair in order:
        pair.warm(plan)
    for number in range(plan.rounds + 1):
        on_round(number)
        come_to_rest(place)
        calls = [_calls(pair, plan) for pair in order]
        taken = [_load(pair, number, plan, place, each) for pair, each in zip(order, calls, strict=True)]
        loads += taken if number else []
        order.reverse()
    return loads


def come_to_rest(place: Place) -> None:
    """Return once the broker takes next to no CPU, or after some seconds; after one if that cannot be known."""
    for _ in range(round(REST_S / _LOOK_S)):
        before = cpu_s(place.pid)
        time.sleep(1.0 if before is None else _LOOK_S)
        after = cpu_s(place.pid)
        if before is None or after is None or after - before <= _QUIET_CORES * _LOOK_S:
            return


def _calls(pair: Pair, plan: Plan) -> list[float]:
    """Seconds of each single call."""
    if not (pair.contestant.calls and plan.calls):
        return []
    calls: list[float] = pair.requester.ask(ANSWER_S, do="calls", tasks=plan.calls)
    return calls


def _load(pair: Pair, number: int, plan: Plan, place: Place, calls: list[float]) -> Load:
    def used() -> list[float | None]:
        return [pair.requester.cpu_s(), pair.worker.cpu_s(), cpu_s(place.pid), machine_cpu_s()]

    before = used()
    tasks = pair.load(plan)
    requester, worker, broker, machine = (
        None if start is None or end is None else (end - start) / tasks * 1e6
        for start, end in zip(before, used(), strict=True)
    )
    elsewhere = (
        None
        if requester is None or worker is None or broker is None or machine is None
        else max(0.0, machine - requester - worker - broker) * pair.tasks_per_s / 1e6
    )
    return Load(
        contestant=pair.contestant.name,
        round=number,
        tasks_per_s=pair.tasks_per_s,
        requester_cpu_us=requester,
        worker_cpu_us=worker,
        broker_cpu_us=broker,
        elsewhere_cores=elsewhere,
        calls_ms=[call * 1000 for call in calls],
    )
