"""Who is measured, and what all of them have in common. Starts nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: What one round trip carries: a string of 150 bytes, and null in the reply.
ARGUMENTS = {"data": "x" * 150}
PREFETCH = 200

_HANDLERS = "tests.benchmarks.handlers"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A pair of processes: one that asks, one that works. Each pair has a task and a queue of its own."""

    name: str
    #: ``executor`` of its task in the configuration.
    executor: str
    handler: str
    #: Tasks at a time in the worker, as a person would set it for such a handler.
    concurrency: int
    is_bare: bool = False

    @property
    def queue(self) -> str:
        return f"bench_{self.name}"

    @property
    def task(self) -> str:
        return f"bench.{self.name}"

    @property
    def worker(self) -> Sequence[str]:
        """The command of its worker, which prints a line with ``ready``."""
        if self.is_bare:
            return [sys.executable, "-m", "tests.benchmarks.bare_worker", self.queue, str(PREFETCH)]
        return [sys.executable, "-m", "worker", self.queue, "--concurrency", str(self.concurrency)]

    @property
    def requester(self) -> Sequence[str]:
        """The command of its requester: see ``tests.benchmarks.requester``."""
        module = "bare_requester" if self.is_bare else "our_requester"
        return [sys.executable, "-m", f"tests.benchmarks.{module}", self.task]


#: What every ratio is a ratio to. Its queue is declared with ours, so it has the same arguments.
BARE = Contestant("bare", "thread", f"{_HANDLERS}:noop", 1, is_bare=True)
OURS = (
    Contestant("process", "process", f"{_HANDLERS}:noop", 2),
    Contestant("thread", "thread", f"{_HANDLERS}:noop", 2),
    Contestant("async", "async", f"{_HANDLERS}:noop_async", PREFETCH),
)
ALL = (BARE, *OURS)


def configuration() -> dict[str, Any]:
    """A ``config.yml`` with a queue and a task for each; the URL comes from the environment."""
    return {
        "queues": {one.queue: {"prefetch": PREFETCH} for one in ALL},
        "tasks": {one.task: {"queue": one.queue, "handler": one.handler, "executor": one.executor} for one in ALL},
        # Short enough for 200 prefetched tasks to fit into the broker's acknowledgement timeout.
        "defaults": {"timeout_s": 10},
        "workload": [],
    }
