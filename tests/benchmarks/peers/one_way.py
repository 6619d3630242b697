"""A requester of a system without replies: its tasks are done when the worker's counter says so."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from tests.benchmarks.peers.counter import Counter

_POLL_S = 0.001


class OneWay:
    """Counts done what the worker has done, in order of sending."""

    def __init__(self, send: Callable[[], object]) -> None:
        self._send = send
        self._counter = Counter()
        self._seen = self._counter.value()
        self._waiting: deque[Callable[[], None]] = deque()

    def start(self, on_done: Callable[[], None]) -> None:
        self._send()
        self._waiting.append(on_done)

    def pump(self, timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        while (now := self._counter.value()) == self._seen and time.monotonic() < end:
            time.sleep(_POLL_S)
        for _ in range(min(now - self._seen, len(self._waiting))):
            self._waiting.popleft()()
        self._seen = now

    def send(self) -> None:
        self._send()
