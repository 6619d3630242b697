"""What a worker has in progress: tasks, which end by a callback, and coroutines about deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class InProgress:
    """Counts both, so that a drain knows when nothing is left."""

    def __init__(self, on_defect: Callable[[BaseException], None]) -> None:
        """``on_defect`` gets what a coroutine raises."""
        self._on_defect = on_defect
        self._coroutines: set[asyncio.Task[None]] = set()
        #: Tasks that were begun and are not over.
        self.tasks = 0
        self._idle = asyncio.Event()

    @property
    def count(self) -> int:
        return self.tasks + len(self._coroutines)

    def end(self, count: int = 1) -> None:
        """``count`` tasks less."""
        self.tasks -= count
        if not self.tasks and not self._coroutines:
            self._idle.set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something about a delivery that takes its time."""
        coroutine = asyncio.create_task(work)
        self._coroutines.add(coroutine)
        coroutine.add_done_callback(self._done)

    async def finish(self) -> None:
        """Return once nothing is in progress."""
        while self.count:
            self._idle.clear()
            await self._idle.wait()

    async def stop(self) -> None:
        """Cancel the coroutines."""
        for coroutine in self._coroutines:
            coroutine.cancel()
        await asyncio.gather(*self._coroutines, return_exceptions=True)

    def _done(self, coroutine: asyncio.Task[None]) -> None:
        self._coroutines.discard(coroutine)
        if not coroutine.cancelled() and (error := coroutine.exception()) is not None:
            self._on_defect(error)
        self.end(0)
