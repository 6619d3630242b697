"""Large and small, many and few: nobody has to wait until others are through."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal

import pytest

from protocol.reply import Reply
from tests.support.caller import Caller
from tests.support.installation import Installation
from tests.support.slowness import limits

LARGE, LARGE_BYTES = 12, 1_000_000
SMALL_AT_LEAST, SMALL_AT_MOST = 10_000, 500_000
HEARTBEAT_S = 1


class Meeting:
    """Small tasks by ``map`` for as long as large results come one after the other."""

    def __init__(self, caller: Caller, batch: Literal["auto"] | None) -> None:
        self._dispatcher = caller.dispatcher
        self._batch = batch
        self.small = 0
        #: How many small ones were done when each of the large ones was.
        self.small_before: list[int] = []
        self._many = caller.start(self._ask_small())
        self._few = caller.start(self._ask_large())

    def wait(self) -> None:
        self._few.result(60)
        self._many.result(60)

    def _inputs(self) -> Iterator[dict[str, int]]:
        for value in range(SMALL_AT_MOST):
            if value >= SMALL_AT_LEAST and len(self.small_before) == LARGE:
                return
            yield {"value": value}

    async def _ask_small(self) -> None:
        async for ended in self._dispatcher.map("echo", self._inputs(), batch=self._batch):
            assert isinstance(ended.end, Reply), ended
            assert ended.end.result == ended.line - 1
            self.small += 1

    async def _ask_large(self) -> None:
        for _ in range(LARGE):
            result = await self._dispatcher.call("huge", {"size": LARGE_BYTES})
            assert result == bytes(LARGE_BYTES)
            self.small_before.append(self.small)


@pytest.mark.parametrize("batch", [None, "auto"])
def test_large_results_and_thousands_of_small_ones_do_not_starve_each_other_or_the_heartbeats(
    install: Callable[..., Installation], batch: Literal["auto"] | None
) -> None:
    for heartbeat_s in limits(HEARTBEAT_S):
        installation = install(broker={"heartbeat_s": int(heartbeat_s)})
        worker, caller = installation.worker(), installation.caller()
        meeting = Meeting(caller, batch)
        meeting.wait()
        print(f"small ones done at each large one: {meeting.small_before}, and in the end {meeting.small}")
        assert meeting.small >= SMALL_AT_LEAST
        assert all(earlier < later for earlier, later in itertools.pairwise(meeting.small_before))
        generation = caller.dispatcher.generation
        installation.close()
        if generation == 1 and worker.lines("link down") == []:
            return
    pytest.fail(f"a connection was lost within {heartbeat_s:g} s: generation {generation}\n{worker.log}")


@pytest.mark.alone
def test_workers_share_batches_that_are_sized_by_the_time_of_their_tasks(
    install: Callable[..., Installation],
) -> None:
    tasks, nap_s, longest_s = 600, 0.005, 0.2
    installation = install(worker={"concurrency": 1})
    for _ in range(2):
        installation.worker()
    caller = installation.caller()
    by_worker: Counter[str] = Counter()

    async def ask() -> None:
        inputs = ({"seconds": nap_s} for _ in range(tasks))
        async for ended in caller.dispatcher.map("task_a", inputs, batch="auto"):
            assert isinstance(ended.end, Reply), ended
            by_worker[ended.end.run.worker] += 1

    caller.run(ask())
    messages = caller.dispatcher.metrics.published
    print(f"{messages} messages, tasks by worker {by_worker}")
    assert tasks * nap_s / longest_s <= messages < tasks
    assert by_worker.total() == tasks
    assert min(by_worker.values()) > tasks / 4
    assert len(by_worker) == 2
