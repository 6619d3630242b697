"""The process that asks, for libraries without an event loop; it understands the same questions."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from broker.console import gc_tuning as garbage
from tests.benchmarks.work import ANSWER

_WAIT_S = 1.0


class BlockingRequester(Protocol):
    """A task that does not end well ends the process."""

    def start(self, on_done: Callable[[], None]) -> None:
        """Send a task; ``on_done`` is called by ``pump`` when it is done."""

    def pump(self, timeout_s: float) -> None:
        """Take what has come, or wait for it so long."""

    def send(self) -> None:
        """Send a task that nobody waits for."""


def serve(requester: BlockingRequester) -> None:
    """Answer until standard input ends. The garbage of all is looked for as that of our commands."""
    garbage.look_less_often()
    print("ready", flush=True)
    for line in sys.stdin:
        print(f"{ANSWER}{json.dumps(_measure(requester, **json.loads(line)))}", flush=True)


def _measure(requester: BlockingRequester, *, do: str, tasks: int, **options: Any) -> list[float]:
    start = time.perf_counter()
    if do == "many":
        _many(requester, tasks, options["window"])
    elif do == "send":
        for _ in range(tasks):
            requester.send()
    elif do == "paced":
        return _paced(requester, tasks, options["rate"])
    else:
        return [_one(requester) for _ in range(tasks)]
    return [time.perf_counter() - start]


def _many(requester: BlockingRequester, tasks: int, window: int) -> None:
    done: deque[None] = deque()
    for sent in range(tasks):
        while sent - len(done) >= window:
            requester.pump(_WAIT_S)
        requester.start(lambda: done.append(None))
    while len(done) < tasks:
        requester.pump(_WAIT_S)


def _one(requester: BlockingRequester) -> float:
    start = time.perf_counter()
    _many(requester, 1, 1)
    return time.perf_counter() - start


def _paced(requester: BlockingRequester, tasks: int, rate: float) -> list[float]:
    """As ``tests.benchmarks.requester`` does it: latency counts from when a call was due."""
    seconds: list[float] = []
    start = time.perf_counter()
    for number in range(tasks):
        due = start + number / rate
        while (wait_s := due - time.perf_counter()) > 0:
            requester.pump(wait_s)
        requester.start(lambda due=due: seconds.append(time.perf_counter() - due))  # type: ignore[misc]
    while len(seconds) < tasks:
        requester.pump(_WAIT_S)
    return seconds
