"""What every executor promises: it runs a call to an outcome, and never raises for what a handler does."""

from __future__ import annotations

from typing import Protocol

from worker.handler import Call
from worker.outcome import Outcome


class Executor(Protocol):
    """Life: ``start`` → ``run``, as many at a time as it was made for → ``stop``."""

    @property
    def problem(self) -> str | None:
        """What keeps it from running as many as it should, if anything does."""

    async def start(self) -> None:
        """Get ready to run; raises ``ConfigError`` if a handler cannot be loaded."""

    async def run(self, call: Call) -> Outcome:
        """Run a task to its end, within its time limit."""

    async def stop(self) -> None:
        """End at once; what still runs is abandoned."""
