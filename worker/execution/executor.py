"""What every executor promises: a task that it was given ends once, whatever its handler does.

A task that has begun ends with an outcome; one that has not can be withdrawn, and ends with None.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from worker.execution.outcome import Outcome

#: A task by its position in its run, how it ended (None: it was withdrawn), and how many seconds it ran.
Result = tuple[int, Outcome | None, float]


@dataclass(frozen=True, slots=True)
class Terms:
    """What the configuration says of the runs of one handler."""

    task: str
    #: Under which an executor knows it.
    handler: str
    queue: str
    max_attempts: int
    timeout_s: float


@dataclass(slots=True, eq=False)
class Run:
    """Tasks of one name, which are run one after another, in their order."""

    terms: Terms
    ids: Sequence[str]
    #: Of each its arguments: packed, or decoded together with those of the others.
    arguments: Sequence[bytes | dict[str, Any]]
    #: 1 for a task that runs for the first time.
    attempt: int
    #: Epoch milliseconds; 0: never. One that begins later than this and the slack is not run.
    expires_at: int
    #: Called on the loop, with some of them at a time; with each once.
    on_results: Callable[[Sequence[Result]], None]


class Begun(NamedTuple):
    """A task of a run that has begun, and when, by the clock ``time.monotonic``."""

    run: Run
    position: int
    since_s: float


class Executor(Protocol):
    """Life: ``start`` → ``submit``, from the loop that started it → ``withdraw`` → ``stop``."""

    @property
    def problem(self) -> str | None:
        """What keeps it from running as many as it should, if anything does."""

    @property
    def busy(self) -> int:
        """How many it runs now."""

    def running(self) -> Iterator[Begun]:
        """What it runs now."""

    async def start(self) -> None:
        """Get ready to run; raises ``ConfigError`` if a handler cannot be loaded."""

    def submit(self, run: Run) -> None:
        """Run tasks, each within its time limit, as soon as there is room. Never fails."""

    def interrupt(self, ids: Collection[str]) -> None:
        """Stop those of these tasks that have begun. Each ends as any other, without success where it could be
        stopped."""

    def withdraw(self) -> None:
        """End every task that has not begun with None; those that run go on."""

    async def stop(self) -> None:
        """End at once; what still runs is abandoned, and never ends."""
