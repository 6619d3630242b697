"""A worker that changes how many deliveries it holds, while it is given some all the time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import pytest

from broker.amqp.link import LinkSettings
from broker.topology.model import topology_of
from protocol.names import new_id
from protocol.reply import Reply
from tests.support.caller import Caller
from tests.support.health import Health
from tests.support.installation import Install, Installation
from tests.support.vhost import Vhost, task
from tests.support.waiting import eventually, run
from worker.intake.consumer import Consumer
from worker.intake.delivery import Delivery

CHANGES = 50
SMALL, LARGE = 8, 24
#: Messages of a hundred that have a header that pika reads by itself: these arrive by another way in our code.
ODD = 30
WAITING = 15_000
ACKED_AFTER_S = 0.005
#: What is watched with and without each change; and what is a pause.
WINDOW_S, LONGEST_PAUSE_S = 0.04, 0.02
#: Pauses that may come with changes beyond those without: others use the machine.
NOISE = 5
NO_OPS, TASKS, CONCURRENCY = 5_000, 20, 2
LONGEST_IN_VAIN_S = 1.5
#: What waits goes back every five seconds, as often as it takes; a worker has to come first.
GOES_BACK_S = 30.0
#: In which idleness is looked for.
STEP_S = 0.05


def backlog(vhost: Vhost) -> list[str]:
    """Publish ``WAITING`` messages to queue_a; their ids."""
    ids = [new_id() for _ in range(WAITING)]
    with vhost.connection() as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        with connection.channel() as channel:
            for number, one in enumerate(ids):
                headers = {"v": 1, "odd": [number]} if number % 100 < ODD else {"v": 1}
                channel.basic_publish("tasks", "note", b"", task(task_id=one, headers=headers))
    eventually(lambda: vhost.ready("queue_a") == WAITING, "the backlog", 30)
    return ids


@contextlib.asynccontextmanager
async def consuming(
    installation: Installation, given: list[Delivery], came_s: list[float]
) -> AsyncIterator[Consumer]:
    """The consuming half of a worker, which acks what it is given after a moment."""
    loop, settings = asyncio.get_running_loop(), installation.settings

    def take(delivery: Delivery) -> None:
        given.append(delivery)
        came_s.append(loop.time())
        loop.call_later(ACKED_AFTER_S, delivery.ack)

    consumer = Consumer(
        LinkSettings.of(settings),
        "worker-changing",
        {"queue_a": SMALL},
        2,
        topology_of(settings),
        take,
        take,
        lambda _version: 1800,
    )
    running = asyncio.create_task(consumer.run())
    try:
        await asyncio.wait_for(consumer.consuming.wait(), 15)
        yield consumer
    finally:
        await consumer.stop(1.0)
        await running


def longest_gap_s(came_s: Sequence[float], from_s: float, to_s: float) -> float:
    """The longest time without a delivery that begins between two moments."""
    return max((after - before for before, after in pairwise(came_s) if from_s <= before < to_s), default=0.0)


@pytest.mark.alone
@pytest.mark.every_broker(long=True)
def test_changes_under_load_return_nothing_lose_nothing_and_pause_nothing(installation: Installation) -> None:
    """Each change is compared with the time before it, in which nothing is changed: on a machine that others use
    both have gaps."""
    installation.declare()
    vhost, given, came_s = installation.vhost, list[Delivery](), list[float]()

    async def test() -> tuple[list[float], list[float]]:
        loop, quiet, changing = asyncio.get_running_loop(), list[float](), list[float]()
        async with consuming(installation, given, came_s) as consumer:
            for change in range(CHANGES):
                before_s = loop.time()
                await asyncio.sleep(WINDOW_S)
                begun_s = loop.time()
                assert await consumer.change("queue_a", (LARGE, SMALL)[change % 2])
                await asyncio.sleep(begun_s + WINDOW_S - loop.time())
                assert len(given) < WAITING, "the changes were not over before the load was"
                quiet.append(longest_gap_s(came_s, before_s, begun_s))
                changing.append(longest_gap_s(came_s, begun_s, loop.time()))
            await asyncio.to_thread(
                eventually, lambda: len(given) == WAITING and not consumer.unacked, "the end", 30
            )
            assert await asyncio.to_thread(vhost.consumers, "queue_a") == 1
            await consumer.cancel()
            assert consumer.link.generation == 1
        return quiet, changing

    sent = backlog(vhost)
    quiet, changing = run(test(), within_s=60)
    for what, gaps in (("without", quiet), ("with", changing)):
        print(f"{what} a change: no delivery for {1000 * median(gaps):.1f} ms, {1000 * max(gaps):.1f} ms at most")
    assert Counter(str(one.properties.message_id) for one in given) == Counter(sent)
    assert not any(one.redelivered for one in given)
    assert vhost.ready("queue_a") == 0
    assert median(changing) <= LONGEST_PAUSE_S
    assert sum(gap > LONGEST_PAUSE_S for gap in changing) <= sum(gap > LONGEST_PAUSE_S for gap in quiet) + NOISE


def drain_no_ops(caller: Caller, name: str, arguments: dict[str, Any]) -> None:
    """Have many tasks done that take no time."""

    async def drain() -> None:
        async for ended in caller.dispatcher.map(name, (arguments for _ in range(NO_OPS))):
            assert isinstance(ended.end, Reply), ended

    caller.run(drain())


@dataclass(frozen=True)
class Ran:
    """One task of a second: when it was sent, when it began and ended, and where it ran."""

    sent_s: float
    began_s: float
    ended_s: float
    worker: str


def naps(caller: Caller, inputs: Sequence[float]) -> list[Ran]:
    """Dispatch at once a task for each of ``inputs``, the seconds that it sleeps; return them as they end."""
    ran = []

    async def ask() -> None:
        async for ended in caller.dispatcher.map("task_a", ({"seconds": seconds} for seconds in inputs)):
            assert isinstance(ended.end, Reply), ended
            run, now_s = ended.end.run, time.monotonic()
            began_s = now_s - run.ran_ms / 1000
            ran.append(Ran(began_s - run.queued_ms / 1000, began_s, now_s, run.worker))

    caller.run(ask())
    return ran


def waited_in_vain_s(one: Ran, all_of_them: Sequence[Ran]) -> float:
    """How long it waited while a slot of another worker had nothing to run, nor had had a moment before."""
    others = {other.worker for other in all_of_them} - {one.worker}
    moments = [one.sent_s + STEP_S * number for number in range(int((one.began_s - one.sent_s) / STEP_S))]

    def is_idle(worker: str, at_s: float) -> bool:
        near = [
            other
            for other in all_of_them
            if other.worker == worker and other.began_s - STEP_S <= at_s < other.ended_s + STEP_S
        ]
        is_short = any(other.ended_s - other.began_s < STEP_S for other in near)
        return len(near) < CONCURRENCY and not is_short

    return STEP_S * sum(any(is_idle(worker, at_s) for worker in others) for at_s in moments)


def grown(workers: Sequence[Health]) -> list[float]:
    return [health.numbers()["prefetch", "queue_a"] for health in workers]


@pytest.mark.alone
@pytest.mark.every_broker(long=True)
@pytest.mark.parametrize("executor", ["process", pytest.param("thread", marks=pytest.mark.long)])
def test_tasks_of_a_second_are_shared_by_workers_that_held_many_short_ones(
    install: Install, executor: str
) -> None:
    installation = install(worker={"concurrency": CONCURRENCY}, defaults={"executor": executor})
    workers = [Health(installation.worker()) for _ in range(2)]
    caller = installation.caller()
    for name, arguments in (("echo", {"value": 1}), ("task_a", {"seconds": 0})):
        drain_no_ops(caller, name, arguments)
        before = grown(workers)
        begun_s = time.monotonic()
        ran = naps(caller, [1.0] * TASKS)
        took_s = time.monotonic() - begun_s
        print(f"{executor}, after {name}: prefetch {before}, then {grown(workers)}; {took_s:.2f} s")
        assert min(before) > CONCURRENCY + 2
        assert took_s <= 1.10 * TASKS / (2 * CONCURRENCY)
    mixed = [0.0] * 2_000
    for number in range(TASKS):
        mixed[number * 97] = 1.0
    ran = naps(caller, mixed)
    long = [one for one in ran if one.ended_s - one.began_s > 0.5]
    vain = max(waited_in_vain_s(one, ran) for one in long)
    print(f"{executor}, mixed: waited {vain:.2f} s in vain at most")
    assert len(long) == TASKS
    assert vain <= LONGEST_IN_VAIN_S


@pytest.mark.every_broker(long=True)
def test_what_waits_behind_long_tasks_goes_to_a_worker_that_comes_later(install: Install) -> None:
    installation = install(worker={"concurrency": CONCURRENCY})
    installation.worker()
    caller, journal, gate = installation.caller(), installation.journal(), installation.gate()
    replies = [
        caller.asking("hold", {"gate": str(gate), "journal": str(journal)}, timeout_s=60)
        for _ in range(2 * CONCURRENCY)
    ]
    journal.wait(CONCURRENCY)
    eventually(lambda: installation.vhost.ready("queue_a") == 0, "the first worker to hold them all")
    installation.worker()
    journal.wait(2 * CONCURRENCY, GOES_BACK_S)
    gate.touch()
    assert {reply.result(60).result for reply in replies} == {1}
    assert len(set(journal.ids)) == len(journal.ids)
