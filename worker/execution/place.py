"""Where one thread runs handlers one after another: what packs their results, and the loop of the async ones."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from protocol.codec import Encoder
from protocol.limits import Limits

if TYPE_CHECKING:
    # Not in a child that runs plain functions: it takes a fifth of its memory more.
    import asyncio

log = logging.getLogger("glassrabbit.handler")

T = TypeVar("T")


def report_left_behind() -> None:
    """That what a handler left behind on its event loop raises the exception that is being handled."""
    with suppress(Exception):
        log.warning("what a handler left behind on its event loop raised", exc_info=True)


class Place:
    """Made and closed by the thread that runs handlers in it."""

    def __init__(self, limits: Limits) -> None:
        self.encoder = Encoder(limits)
        self._runner: asyncio.Runner | None = None

    def complete(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine that never raises to its end.

        The loop is the same for all of them: what a module keeps from task to task (a client with its connections)
        is bound to one. What a handler leaves behind on it goes on while the next one runs.
        """
        import asyncio

        if self._runner is None or self._runner.get_loop().is_closed():
            # By a factory, so that nobody else gets this loop from ``get_event_loop``.
            self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        # Not by the task's result: a handler may have cancelled its own task.
        results: list[T] = []

        async def work() -> None:
            results.append(await coroutine)

        loop = self._runner.get_loop()
        task = loop.create_task(work())
        while not task.done():
            try:
                loop.run_until_complete(task)
            except BaseException:  # noqa: BLE001 - what a handler left behind raised
                if not task.done():
                    report_left_behind()
        return results[0]

    def close(self) -> None:
        """End the loop, and what was left behind on it."""
        if self._runner is not None:
            self._runner.close()
