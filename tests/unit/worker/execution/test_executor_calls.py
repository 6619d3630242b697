"""What executors do with tasks that are submitted faster than they run, without a broker."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgpack
import pytest

from protocol.limits import DEFAULT_LIMITS
from tests.support.waiting import eventually
from worker.execution.executor import Executor, Result, Run, Terms
from worker.execution.outcome import Done, Failed, Outcome, Rejected
from worker.execution.process_executor import SWEEP_S, ProcessExecutor
from worker.execution.thread_executor import ThreadExecutor
from worker.execution.zygote import Nursery

HANDLERS = {name: f"tests.support.handlers:{name}" for name in ("echo", "hold", "note", "crash")}
CHILDREN = ("process", "fork") if sys.platform == "linux" else ("process",)
KINDS = (*CHILDREN, "thread")


def terms(task: str, timeout_s: float = 30.0) -> Terms:
    return Terms(task=task, handler=task, queue="queue_a", max_attempts=1, timeout_s=timeout_s)


class Caller:
    """Submits calls, and knows how each of them ended and in which order."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.ends: dict[str, Outcome | None] = {}
        self._news = asyncio.Condition()
        self._waiting: set[asyncio.Task[None]] = set()

    def submit(self, task: str, *ids: str, timeout_s: float = 30.0, **arguments: Any) -> None:
        packed = msgpack.packb(arguments)
        self.executor.submit(self.run(task, dict.fromkeys(ids, packed), timeout_s))

    def run(self, task: str, arguments: Mapping[str, bytes], timeout_s: float = 30.0) -> Run:
        ids = list(arguments)

        def on_results(results: Sequence[Result]) -> None:
            for position, outcome, _ran_s in results:
                assert ids[position] not in self.ends
                self.ends[ids[position]] = outcome
            said = asyncio.get_running_loop().create_task(self._report())
            self._waiting.add(said)
            said.add_done_callback(self._waiting.discard)

        return Run(terms(task, timeout_s), ids, list(arguments.values()), 1, 0, on_results)

    async def _report(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def wait(self, check: Callable[[], bool], within_s: float = 20.0) -> None:
        async with self._news:
            await asyncio.wait_for(self._news.wait_for(check), within_s)

    async def done(self, *ids: str) -> None:
        await self.wait(lambda: set(ids) <= self.ends.keys())
        assert {type(self.ends[one]) for one in ids} == {Done}


@asynccontextmanager
async def calling(kind: str, size: int) -> AsyncIterator[Caller]:
    if kind in CHILDREN:
        forks = kind == "fork"
        executor: Executor = ProcessExecutor(size, HANDLERS, DEFAULT_LIMITS, [os.getcwd()], forks=forks)
    else:
        executor = ThreadExecutor(size, HANDLERS, DEFAULT_LIMITS)
    await executor.start()
    try:
        yield Caller(executor)
    finally:
        await executor.stop()


def in_a_loop(story: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 60))


def many(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_however_many_are_submitted_at_once_each_ends_once(kind: str) -> None:
    async def story() -> None:
        async with calling(kind, 2) as caller:
            for one in many("a", 300):
                caller.submit("echo", one, value=1)
            caller.submit("echo", *many("b", 300), value=1)
            await caller.done(*many("a", 300), *many("b", 300))
            assert caller.executor.busy == 0

    in_a_loop(story)


class Many:
    """Submits runs of many tasks, and knows how each ended, how many at a time, and in which order."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.ends: dict[str, Outcome | None] = {}
        self.chunks: list[int] = []
        self._news = asyncio.Event()

    def submit(
        self, task: str, arguments: dict[str, dict[str, Any]], *, timeout_s: float = 30.0, expires_at: int = 0
    ) -> None:
        ids = list(arguments)

        def on_results(results: Sequence[Result]) -> None:
            self.chunks.append(len(results))
            for position, outcome, ran_s in results:
                assert ids[position] not in self.ends
                assert ran_s >= 0
                self.ends[ids[position]] = outcome
            self._news.set()

        self.executor.submit(Run(terms(task, timeout_s), ids, list(arguments.values()), 1, expires_at, on_results))

    async def wait(self, count: int) -> list[Outcome | None]:
        while len(self.ends) < count:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 20)
        return list(self.ends.values())


def kinds(ends: list[Outcome | None]) -> list[str]:
    return [end.code if isinstance(end, Failed | Rejected) else type(end).__name__ for end in ends]


def test_the_tasks_of_a_series_end_once_each_in_order_and_few_times_is_the_loop_woken() -> None:
    async def story() -> None:
        async with calling("thread", 2) as caller:
            many_of_them = Many(caller.executor)
            many_of_them.submit("echo", {one: {"value": 1} for one in many("a", 200)})
            many_of_them.submit("echo", {one: {"no_such": 1} for one in many("b", 3)})
            ends = await many_of_them.wait(203)
            assert sorted(set(kinds(ends))) == ["Done", "bad_arguments"]
            assert [one for one in many_of_them.ends if one[0] == "a"] == many("a", 200)
            assert len(many_of_them.chunks) < 100
            assert caller.executor.busy == 0

    in_a_loop(story)


def test_a_task_of_a_series_that_takes_too_long_ends_and_the_rest_is_run(tmp_path: Path) -> None:
    async def story() -> None:
        async with calling("thread", 1) as caller:
            many_of_them, gate = Many(caller.executor), tmp_path / "gate"
            gates = [os.devnull, str(gate), os.devnull, os.devnull]
            arguments = {str(number): {"gate": one} for number, one in enumerate(gates)}
            many_of_them.submit("hold", arguments, timeout_s=0.3)
            assert kinds(await many_of_them.wait(4)) == ["Done", "timed_out", "Done", "Done"]
            assert list(many_of_them.ends) == list(arguments)
            gate.touch()
            many_of_them.submit("echo", {"afterwards": {}})
            assert kinds(await many_of_them.wait(5))[-1] == "Done"

    in_a_loop(story)


def test_what_is_held_of_a_series_is_reported_while_the_next_one_runs_and_what_waits_can_be_withdrawn(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with calling("thread", 1) as caller:
            many_of_them, gate = Many(caller.executor), tmp_path / "gate"
            gates = [os.devnull, os.devnull, str(gate), os.devnull]
            many_of_them.submit("hold", {str(number): {"gate": one} for number, one in enumerate(gates)})
            many_of_them.submit("echo", {"waits": {}, "waits too": {}})
            assert kinds(await many_of_them.wait(2)) == ["Done", "Done"]
            assert caller.executor.busy == 1
            caller.executor.withdraw()
            assert kinds(await many_of_them.wait(4)) == ["Done", "Done", "NoneType", "NoneType"]
            gate.touch()
            assert kinds(await many_of_them.wait(6))[4:] == ["Done", "Done"]

    in_a_loop(story)


@pytest.mark.parametrize("number", [0, 2])
def test_a_thread_that_stands_still_for_longer_than_the_limit_charges_the_task_that_it_runs_if_any(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outcome of a series the process is stopped, or its machine is: what began did so an hour ago."""

    async def story() -> None:
        async with calling("thread", 1) as caller:
            executor = caller.executor
            assert isinstance(executor, ThreadExecutor)
            hand_over, loop = executor._outcomes.hand_over, asyncio.get_running_loop()

            def slowly(ended: Any, is_held: bool = False) -> None:
                if ended[1][0] == number:
                    executor._seats[0].began_s -= 3600
                    looked = threading.Event()
                    loop.call_soon_threadsafe(executor._end_late)
                    loop.call_soon_threadsafe(looked.set)
                    looked.wait(10)
                hand_over(ended, is_held)

            monkeypatch.setattr(executor._outcomes, "hand_over", slowly)
            series = Many(executor)
            series.submit("echo", {one: {} for one in "012"}, timeout_s=600)
            await series.wait(3)
            assert kinds([series.ends[one] for one in "012"]) == [
                "Done",
                "timed_out" if number == 0 else "Done",
                "Done",
            ]
            assert executor._open == 0

    in_a_loop(story)


def test_a_series_after_its_time_is_not_run(tmp_path: Path) -> None:
    async def story() -> None:
        async with calling("thread", 1) as caller:
            many_of_them, journal = Many(caller.executor), tmp_path / "journal"
            many_of_them.submit("note", {one: {"journal": str(journal)} for one in many("a", 3)}, expires_at=1)
            assert kinds(await many_of_them.wait(3)) == ["expired"] * 3
            assert not journal.exists()

    in_a_loop(story)


@pytest.mark.parametrize("kind", KINDS)
def test_short_calls_do_not_wait_behind_a_long_one(kind: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with calling(kind, 2) as caller:
            caller.submit("echo", *many("before", 50), value=1)
            caller.submit("hold", "short", gate=str(Path(os.devnull)))
            await caller.done(*many("before", 50), "short")
            gate = tmp_path / "gate"
            caller.submit("hold", "long", gate=str(gate))
            for one in many("after", 100):
                caller.submit("echo", one, value=1)
            await caller.done(*many("after", 100))
            assert "long" not in caller.ends
            gate.touch()
            await caller.done("long")

    in_a_loop(story)


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_not_begun_can_be_withdrawn_and_what_runs_ends(kind: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with calling(kind, 1) as caller:
            caller.submit("echo", *many("before", 20), value=1)
            await caller.done(*many("before", 20))
            gate, journal = tmp_path / "gate", tmp_path / "journal"
            caller.submit("hold", "runs", gate=str(gate), journal=str(journal))
            for one in many("waits", 5):
                caller.submit("echo", one, value=1)
            await asyncio.to_thread(eventually, journal.exists)
            caller.executor.withdraw()
            assert [caller.ends[one] for one in many("waits", 5)] == [None] * 5
            gate.touch()
            await caller.done("runs")
            caller.submit("echo", "afterwards", value=1)
            await caller.done("afterwards")

    in_a_loop(story)


@pytest.mark.parametrize("kind", KINDS)
def test_of_calls_that_belong_together_one_over_its_limit_is_charged_and_the_others_are_run(
    kind: str, tmp_path: Path
) -> None:
    """Its outcome comes before the limit of the one that hangs; what follows it does not wait for it for ever."""

    async def story() -> None:
        async with calling(kind, 1) as caller:
            caller.submit("hold", "known", gate=os.devnull)
            await caller.done("known")
            gates = {"first": os.devnull, "hangs": str(tmp_path / "never"), "last": os.devnull}
            arguments = {one: msgpack.packb({"gate": gate}) for one, gate in gates.items()}
            caller.executor.submit(caller.run("hold", arguments, timeout_s=1.0))
            await caller.done("first")
            assert "hangs" not in caller.ends
            await caller.done("last")
            end = caller.ends["hangs"]
            assert isinstance(end, Failed)
            assert end.code == "timed_out"

    in_a_loop(story)


@pytest.mark.parametrize("kind", CHILDREN)
def test_a_child_that_dies_costs_the_call_that_it_ran_and_no_other(kind: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with calling(kind, 1) as caller:
            caller.submit("echo", *many("before", 20), value=1)
            caller.submit("hold", "known", gate=os.devnull)
            await caller.done(*many("before", 20), "known")
            journal = tmp_path / "journal"
            caller.submit("hold", "runs", gate=str(tmp_path / "never"), journal=str(journal))
            caller.submit("echo", *many("with it", 3), value=1)
            await asyncio.to_thread(eventually, journal.exists)
            (pid,) = [child.process.pid for child in caller.executor._children]  # type: ignore[attr-defined]
            os.kill(pid, signal.SIGKILL)
            await caller.done(*many("with it", 3))
            end = caller.ends["runs"]
            assert isinstance(end, Failed)
            assert (end.code, "SIGKILL" in end.text) == ("worker_lost", True)

    in_a_loop(story)


@pytest.mark.parametrize("kind", CHILDREN)
def test_of_a_batch_that_crashes_its_child_each_call_ends_once(kind: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with calling(kind, 2) as caller:
            caller.submit("crash", *many("a", 4))
            await caller.wait(lambda: len(caller.ends) == 4)
            assert {end.code for end in caller.ends.values() if isinstance(end, Failed)} == {"worker_lost"}
            # The last of them is replaced as well.
            caller.submit("echo", *many("b", 4), value=1)
            await caller.done(*many("b", 4))
            await asyncio.to_thread(eventually, lambda: caller.executor.restarts == 4)  # type: ignore[attr-defined]
            await asyncio.to_thread(eventually, lambda: len(caller.executor._children) == 2)  # type: ignore[attr-defined]

    in_a_loop(story)


@pytest.mark.parametrize("kind", CHILDREN)
def test_a_child_that_is_slow_to_begin_runs_each_call_once_and_answers_it_with_its_own_result(kind: str) -> None:
    """Stopped, it takes no token: those of the calls behind the first are taken back time and again."""

    async def story() -> None:
        async with calling(kind, 1) as caller:
            caller.submit("echo", *many("before", 50), value=0)
            await caller.done(*many("before", 50))
            (child,) = caller.executor._children  # type: ignore[attr-defined]
            os.kill(child.process.pid, signal.SIGSTOP)
            for number, one in enumerate(many("a", 8)):
                caller.submit("echo", one, value=number)
            given: set[int] = set()
            for _ in range(5):
                await asyncio.sleep(2 * SWEEP_S)
                given.add(len(child.in_hand))
            os.kill(child.process.pid, signal.SIGCONT)
            await caller.done(*many("a", 8))
            assert 1 in given
            assert [caller.ends[one] for one in many("a", 8)] == [
                Done(msgpack.packb(number)) for number in range(8)
            ]

    in_a_loop(story)


@pytest.mark.parametrize("kind", CHILDREN)
def test_calls_that_are_taken_back_from_a_child_stay_with_their_own_handlers(kind: str) -> None:
    async def story() -> None:
        async with calling(kind, 1) as caller:
            for task in ("echo", "note"):
                caller.submit(task, *many(task, 50))
            await caller.done(*many("echo", 50), *many("note", 50))
            (child,) = caller.executor._children  # type: ignore[attr-defined]
            os.kill(child.process.pid, signal.SIGSTOP)
            for number, one in enumerate(many("a", 4)):
                caller.submit("echo", f"{one} echo", value=number)
                caller.submit("note", f"{one} note")
            await asyncio.sleep(4 * SWEEP_S)
            os.kill(child.process.pid, signal.SIGCONT)
            await caller.done(*(f"{one} {task}" for one in many("a", 4) for task in ("echo", "note")))
            echoed = [caller.ends[f"{one} echo"] for one in many("a", 4)]
            assert echoed == [Done(msgpack.packb(number)) for number in range(4)]
            assert {str(caller.ends[f"{one} note"]) for one in many("a", 4)} == {str(Done(msgpack.packb(1)))}

    in_a_loop(story)


def test_a_child_that_is_lost_in_the_turn_in_which_it_was_handed_a_call_harms_nobody() -> None:
    async def story() -> None:
        problems: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
        child = await Nursery([[os.getcwd()], HANDLERS, asdict(DEFAULT_LIMITS), [None, None]]).child()
        child.send(Run(terms("echo"), ["a"], [msgpack.packb({})], 1, 0, lambda _results: None), range(1), 1.0)
        await child.kill()
        await asyncio.sleep(0)
        assert problems == []

    in_a_loop(story)


def test_a_child_that_runs_plain_functions_does_without_an_event_loop_and_what_makes_values_plain() -> None:
    code = "import sys, worker.execution.child_main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"asyncio", "ssl", "pika", "pydantic", "protocol.values"} & set(loaded.stdout.split())
