"""The further parts of a run, each a list of samples of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from tests.benchmarks.contestants import THREAD, Contestant, sleeper
from tests.benchmarks.measure import ANSWER_S, Pair, start_worker
from tests.benchmarks.place import Place
from tests.benchmarks.processes import Process
from tests.benchmarks.samples import Half, MapMemory, OneWay, Plan, Sleeping, Workers
from tests.benchmarks.work import PASSED_EACH

WORKERS = (1, 2, 4, 8)
SLEEP_S = 0.1

_LEAST_CALLS = 50
_POLL_S = 0.05
#: Of a queue that is being emptied, the first and last part do not count: workers fill up and run dry.
_EDGE = 0.1
_MAP_S = 900.0


def halves(contestants: Sequence[Pair], plan: Plan) -> list[Half]:
    """Latency at half load, of those that pace."""
    return [_half(pair, plan) for pair in contestants if pair.contestant.calls and pair.contestant.paces]


def _half(pair: Pair, plan: Plan) -> Half:
    rate = pair.tasks_per_s / 2
    calls = max(_LEAST_CALLS, round(rate * plan.seconds))
    seconds = pair.requester.ask(ANSWER_S, do="paced", tasks=calls, rate=rate)
    return Half(
        contestant=pair.contestant.name, calls_per_s=rate, latencies_ms=[second * 1000 for second in seconds]
    )


def two_workers(place: Place, contestants: Sequence[Pair], plan: Plan) -> list[Workers]:
    """The rate of each with a second worker process; the first one's was in the rounds."""
    found = []
    for pair in contestants:
        if pair.contestant.counts_done:
            continue
        with contextlib.ExitStack() as stack:
            start_worker(place, pair.contestant, stack)
            pair.load(plan)
            pair.load(plan)
            found.append(Workers(contestant=pair.contestant.name, workers=2, tasks_per_s=pair.tasks_per_s))
    return found


def one_ways(place: Place, contestants: Sequence[Contestant], rates: dict[str, float], plan: Plan) -> list[OneWay]:
    """Publish-only, then consume-only. ``rates`` give the number of tasks."""
    return [
        _one_way(place, one, max(1000, round(2 * rates[one.name] * plan.seconds)), plan.window)
        for one in contestants
        if one.sends
    ]


def _one_way(place: Place, one: Contestant, tasks: int, window: int) -> OneWay:
    with Process(one.requester, place.environment_of(one)) as requester:
        requester.wait_ready()
        requester.ask(ANSWER_S, do="send", tasks=window, window=window)
        (seconds,) = requester.ask(ANSWER_S, do="send", tasks=tasks, window=window)
        with contextlib.ExitStack() as stack:
            depth = stack.enter_context(place.depths(one.queue))
            points = [(0.0, depth())]
            start_worker(place, one, stack)
            while points[-1][1]:
                time.sleep(_POLL_S)
                points.append((time.monotonic(), depth()))
    return OneWay(contestant=one.name, published_per_s=tasks / seconds, consumed_per_s=consumed(points))


def consumed(points: Sequence[tuple[float, int]]) -> float:
    """Messages a second, from times and what was left in the queue; the ends of it do not count."""
    most = points[0][1]
    inner = [point for point in points[1:] if _EDGE * most < point[1] < (1 - _EDGE) * most]
    first, last = (inner[0], inner[-1]) if len(inner) > 1 else (points[1], points[-1])
    return (first[1] - last[1]) / max(last[0] - first[0], _POLL_S)


def map_memory(place: Place, tasks: int, plan: Plan) -> list[MapMemory]:
    """One ``map`` over many inputs: the memory of both sides, each time it has passed so many."""
    points: list[MapMemory] = []
    with contextlib.ExitStack() as stack:
        worker, _ = start_worker(place, THREAD, stack)
        requester = stack.enter_context(Process(THREAD.requester, place.environment_of(THREAD)))
        requester.wait_ready()
        requester.tell(do="many", tasks=tasks, window=plan.window)
        for _ in range(tasks // PASSED_EACH):
            passed = requester.wait_passed(_MAP_S)
            ours, theirs = requester.memory(), worker.memory()
            if ours is not None and theirs is not None:
                points.append(MapMemory(tasks=passed, requester_mb=ours.megabytes, worker_mb=theirs.megabytes))
        requester.answer(_MAP_S)
    return points


def sleeping(place: Place, each: int) -> list[Sleeping]:
    """``each`` tasks of a tenth of a second for each of 1, 2, 4 and 8 workers."""
    found, one = [], sleeper()
    with contextlib.ExitStack() as stack:
        requester = stack.enter_context(Process(one.requester, place.environment_of(one)))
        requester.wait_ready()
        running = 0
        for workers in WORKERS:
            for _ in range(workers - running):
                start_worker(place, one, stack)
            running, tasks = workers, workers * each
            # Children are started, and everybody has had a task.
            requester.ask(ANSWER_S, do="many", tasks=4 * workers, window=4 * workers)
            (seconds,) = requester.ask(ANSWER_S + 2 * each * SLEEP_S, do="many", tasks=tasks, window=tasks)
            found.append(Sleeping(workers=workers, tasks=tasks, seconds=seconds, ideal_s=each * SLEEP_S))
    return found
