"""The turns of ``load ab``: fresh workers of one side, a warm-up, the load, and the workers' end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from broker.amqp.counting import Count, count_all
from broker.amqp.once import connected
from broker.config.settings import Settings
from broker.errors import AccessRefused, BrokerError
from dispatcher.errors import CallError
from dispatcher.load_ab.sides import Side
from dispatcher.load_ab.verdict import SideName, turns
from dispatcher.load_ab.workers import Workers
from dispatcher.load_test.plan import Plan
from dispatcher.load_test.run import run_load
from protocol.errors import ExitCode

T = TypeVar("T")
Run = Mapping[str, Any]

#: Of the tasks of a turn, before it; bounded so that it is there with few of them, and short with many.
_WARM_PART, _LEAST_WARM, _MOST_WARM = 5, 20, 1000
#: After Ctrl-C, how long workers go on with what is in progress, so that nothing stays in the queues.
_PATIENCE_S = 10.0
#: For the broker to say what stands in the queues.
_COUNT_S = 10.0


class NotAlone(CallError):
    """Somebody else's tasks or workers are in the queues of the test. Nothing was sent."""


class Mixed(CallError):
    """A worker that is none of the test took part, so that its figures are worth nothing."""


class Interrupted(CallError):
    """Ctrl-C or SIGTERM; everything is ended."""

    exit_code = ExitCode.INTERRUPTED

    def __init__(self) -> None:
        super().__init__("interrupted, so that there is no comparison. Start it again for one.")


@dataclass(frozen=True, slots=True)
class Bench:
    """What stays the same from turn to turn."""

    queues: tuple[str, ...]
    workers: int
    rounds: int
    #: Where ``--config`` points.
    config: str | None
    report: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Contender:
    side: Side
    plan: Plan


async def run_rounds(contenders: Mapping[SideName, Contender], bench: Bench) -> list[dict[SideName, Run]]:
    """The run of each side in each round, in the order of the turns.

    Whatever ends it, no worker is left; tasks that are left are reported. It ends early, with what there is, after
    a turn in which not every task was answered. Raises ``NotAlone`` before anything is started, ``WorkerEnded``,
    ``Mixed``, ``Interrupted``, and what a ``Dispatcher`` raises.
    """
    settings = contenders["A"].side.settings
    await _require_alone(settings, bench.queues)
    stopping = asyncio.Event()
    loop, main = asyncio.get_running_loop(), asyncio.current_task()
    assert main is not None
    # What is ignored, as SIGHUP under nohup, stays so.
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for one in (one for one in signals if signal.getsignal(one) is not signal.SIG_IGN):
        loop.add_signal_handler(one, lambda: main.cancel() if stopping.is_set() else stopping.set())
    rounds: list[dict[SideName, Run]] = []
    is_whole = False
    try:
        for number in range(bench.rounds):
            rounds.append({})
            for name in turns(number):
                run = await _Turn(contenders[name], bench, stopping).run()
                rounds[-1][name] = run
                bench.report(f"round {number + 1} of {bench.rounds}, {name}: {_line(run)}")
                if not is_answered(run):
                    return rounds
        is_whole = True
        return rounds
    except asyncio.CancelledError:
        raise Interrupted from None
    finally:
        if not is_whole:
            await _report_left(settings, bench)


def is_answered(run: Run) -> bool:
    """Whether every task has a reply, good or bad."""
    tasks = run["tasks"]
    return bool(tasks["sent"] == tasks["done"] + tasks["failed"])


class _Turn:
    def __init__(self, contender: Contender, bench: Bench, stopping: asyncio.Event) -> None:
        self._contender = contender
        self._bench = bench
        self._stopping = stopping
        side = contender.side
        self._workers = Workers(
            bench.workers, bench.queues, bench.config, side.environ, side.settings.worker.grace_s
        )

    async def run(self) -> Run:
        plan = self._contender.plan
        assert plan.count is not None
        warm = min(plan.count, _MOST_WARM, max(_LEAST_WARM, plan.count // _WARM_PART))
        try:
            await self._unless_stopped(self._workers.start(), 0.0)
            run = await self._load(replace(plan, count=warm))
            return await self._load(plan) if is_answered(run) else run
        finally:
            await self._workers.stop()

    async def _load(self, plan: Plan) -> Run:
        side = self._contender.side

        def report(line: str) -> None:
            self._bench.report(f"{side.name}, {line}")

        run = await self._unless_stopped(run_load(side.settings, plan, report), _PATIENCE_S, self._workers.ended())
        strangers = run["workers"].keys() - self._workers.identities
        if strangers:
            raise Mixed(
                f"{', '.join(sorted(strangers))} took tasks of the test and is no worker of it. Stop all others "
                "and start again, or use another virtual host: BROKER_URL."
            )
        return run

    async def _unless_stopped(
        self, doing: Coroutine[Any, Any, T], patience_s: float, *ends: Coroutine[Any, Any, None]
    ) -> T:
        """What comes of it, unless it is to stop, and ``patience_s`` has passed, or one of ``ends`` raises."""
        task = asyncio.create_task(doing)
        stop = asyncio.create_task(self._stopping.wait())
        watching: Sequence[asyncio.Task[None]] = [asyncio.create_task(end) for end in ends]
        try:
            await asyncio.wait({task, stop, *watching}, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                if patience_s:
                    self._bench.report(f"waiting {patience_s:g} s for what is in progress (again: stop at once)")
                await asyncio.wait({task, *watching}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
                raise Interrupted
            for end in watching:
                if end.done():
                    await end
            return await task
        finally:
            every = (task, stop, *watching)
            for one in every:
                one.cancel()
            await asyncio.gather(*every, return_exceptions=True)


def _line(run: Run) -> str:
    latency = run["latency_ms"]
    return f"{run['throughput']:.1f}/s · median {latency['p50']:.1f} ms · p95 {latency['p95']:.1f} ms"


async def _report_left(settings: Settings, bench: Bench) -> None:
    try:
        found = await _inspected(settings, bench.queues)
    except BrokerError as error:
        bench.report(f"whether tasks are left is not known: {error}")
        return
    for queue, (tasks, _) in found.items():
        if tasks:
            bench.report(f"{tasks} tasks are left in {queue}. Have them done: python -m worker {queue}")


async def _require_alone(settings: Settings, queues: Iterable[str]) -> None:
    """Raises ``NotAlone`` if one of them has tasks or consumers; one that is missing has neither."""
    for queue, (tasks, consumers) in (await _inspected(settings, queues)).items():
        if tasks or consumers:
            raise NotAlone(
                f"{queue} has {tasks} tasks and {consumers} consumers, and the test starts workers of its own. "
                "Stop yours and let no task wait, or use another virtual host: BROKER_URL."
            )


async def _inspected(settings: Settings, queues: Iterable[str]) -> dict[str, Count]:
    """Ready tasks and consumers of each queue that is there. Raises ``BrokerError``."""
    counts: dict[str, Count | None] = dict.fromkeys(queues)
    await connected(settings, "load ab", lambda one: count_all(one, counts), timeout_s=_COUNT_S)
    if None in counts.values():
        raise AccessRefused("this user may not read the queues of the test. It needs the right to read them.")
    return {queue: count for queue, count in counts.items() if count is not None}
