"""A requester on our dispatcher: ``map`` for many, ``ask`` for one, ``submit`` to send."""

from __future__ import annotations

import argparse
import asyncio
import itertools
from typing import Any

from broker.config.loader import load
from dispatcher.client import Dispatcher
from dispatcher.pending import End
from protocol.reply import Reply
from tests.benchmarks.requester import serve
from tests.benchmarks.work import ARGUMENTS, PASSED, PASSED_EACH


class OurRequester:
    """Asks for one task, again and again. ``options`` are further arguments of ``map``."""

    def __init__(self, dispatcher: Dispatcher, task: str, options: dict[str, Any]) -> None:
        self._dispatcher = dispatcher
        self._task = task
        self._options = options

    async def many(self, tasks: int, window: int) -> None:
        done = 0
        inputs = itertools.repeat(ARGUMENTS, tasks)
        async for ended in self._dispatcher.map(self._task, inputs, **{"window": window, **self._options}):
            _check(ended.end)
            done += 1
            if done % PASSED_EACH == 0:
                print(f"{PASSED}{done}", flush=True)
        if done != tasks:
            raise SystemExit(f"{done} of {tasks} tasks came back")

    async def one(self) -> None:
        _check(await self._dispatcher.ask(self._task, ARGUMENTS))

    async def send(self) -> None:
        await self._dispatcher.submit(self._task, ARGUMENTS)


def _check(end: End) -> None:
    if not isinstance(end, Reply) or end.failure is not None:
        raise SystemExit(f"a task failed: {end}")


def _batch(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task")
    parser.add_argument("--batch", type=_batch)
    given = parser.parse_args()
    # Batches choose a window of their own, as large as they need.
    options = {} if given.batch is None else {"batch": given.batch, "window": None}
    async with Dispatcher(load(None)) as dispatcher:
        await serve(OurRequester(dispatcher, given.task, options))


if __name__ == "__main__":
    asyncio.run(main())
