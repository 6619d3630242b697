"""What every executor promises: a call that it was given ends once, whatever its handler does.

Calls that are submitted together (those of a batch) are run one after another, in their order. A call that has
begun ends with an outcome; one that has not can be withdrawn, and ends with None.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from worker.execution.handler import Call, Series


class Executor(Protocol):
    """Life: ``start`` → ``submit``, from the loop that started it → ``withdraw`` → ``stop``."""

    @property
    def problem(self) -> str | None:
        """What keeps it from running as many as it should, if anything does."""

    @property
    def busy(self) -> int:
        """How many it runs now."""

    async def start(self) -> None:
        """Get ready to run; raises ``ConfigError`` if a handler cannot be loaded."""

    def submit(self, calls: list[Call]) -> None:
        """Run calls of one task, each within its time limit, as soon as there is room. Never fails."""

    def withdraw(self) -> None:
        """End every call that has not begun with None; those that run go on."""

    async def stop(self) -> None:
        """End at once; what still runs is abandoned, and its call never ends."""


@runtime_checkable
class SeriesExecutor(Executor, Protocol):
    """One that can do with less than a call for each task."""

    def submit_series(self, series: Series) -> None:
        """The same as ``submit`` for many tasks that have all but their arguments in common."""
