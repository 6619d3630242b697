"""A requester on Taskiq: its tasks are done when the worker's counter says so."""

from __future__ import annotations

import asyncio

from tests.benchmarks.peers.counter import Counter
from tests.benchmarks.peers.taskiq_app import QUEUE, broker, noop
from tests.benchmarks.requester import in_window, serve
from tests.benchmarks.work import DATA

_POLL_S = 0.001


class TaskiqRequester:
    def __init__(self) -> None:
        self._counter = Counter()

    async def many(self, tasks: int, window: int) -> None:
        end = self._counter.value() + tasks
        await in_window(tasks, window, self.send)
        while self._counter.value() < end:  # noqa: ASYNC110 - what counts is another process
            await asyncio.sleep(_POLL_S)

    async def one(self) -> None:
        raise SystemExit("Taskiq has no replies over AMQP")

    async def send(self) -> None:
        await noop.kicker().with_labels(queue_name=QUEUE).kiq(DATA)


async def main() -> None:
    await broker.startup()
    await serve(TaskiqRequester())


if __name__ == "__main__":
    asyncio.run(main())
