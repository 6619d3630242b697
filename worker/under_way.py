"""What a worker has under way: runs, which end by a callback, and coroutines about deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class UnderWay:
    """Counts both, so that whoever drains knows when nothing is left."""

    def __init__(self, on_defect: Callable[[BaseException], None]) -> None:
        """``on_defect`` hears of what a coroutine raises."""
        self._on_defect = on_defect
        self._coroutines: set[asyncio.Task[None]] = set()
        self._runs = 0
        self._quiet = asyncio.Event()

    @property
    def count(self) -> int:
        return self._runs + len(self._coroutines)

    def begin(self, count: int = 1) -> None:
        """So many runs more."""
        self._runs += count

    def end(self, count: int = 1) -> None:
        """So many runs less."""
        self._runs -= count
        self._tell()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something about a delivery that takes its time."""
        coroutine = asyncio.create_task(work)
        self._coroutines.add(coroutine)
        coroutine.add_done_callback(self._done)
        return coroutine

    async def finish(self) -> None:
        """Return once nothing is under way."""
        while self.count:
            self._quiet.clear()
            await self._quiet.wait()

    async def stop(self) -> None:
        """Cancel the coroutines."""
        for coroutine in self._coroutines:
            coroutine.cancel()
        await asyncio.gather(*self._coroutines, return_exceptions=True)

    def _done(self, coroutine: asyncio.Task[None]) -> None:
        self._coroutines.discard(coroutine)
        if not coroutine.cancelled() and (error := coroutine.exception()) is not None:
            self._on_defect(error)
        self._tell()

    def _tell(self) -> None:
        if not self.count:
            self._quiet.set()
