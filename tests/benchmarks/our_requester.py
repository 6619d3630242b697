"""A requester on our dispatcher: ``map`` for many, ``ask`` for one."""

from __future__ import annotations

import asyncio
import itertools
import sys

from broker.config import load
from dispatcher.client import Dispatcher
from dispatcher.pending import End
from protocol.reply import Reply
from tests.benchmarks.contestants import ARGUMENTS
from tests.benchmarks.requester import serve


class OurRequester:
    """Asks for one task, again and again."""

    def __init__(self, dispatcher: Dispatcher, task: str) -> None:
        self._dispatcher = dispatcher
        self._task = task

    async def many(self, tasks: int, window: int) -> None:
        done = 0
        async for ended in self._dispatcher.map(self._task, itertools.repeat(ARGUMENTS, tasks), window=window):
            _check(ended.end)
            done += 1
        if done != tasks:
            raise SystemExit(f"{done} of {tasks} tasks came back")

    async def one(self) -> None:
        _check(await self._dispatcher.ask(self._task, ARGUMENTS))


def _check(end: End) -> None:
    if not isinstance(end, Reply) or end.failure is not None:
        raise SystemExit(f"a task failed: {end}")


async def main(task: str) -> None:
    async with Dispatcher(load(None)) as dispatcher:
        await serve(OurRequester(dispatcher, task))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
