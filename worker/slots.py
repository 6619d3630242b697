"""How many tasks may run at once, first come, first served; and a way to send those who wait back."""

from __future__ import annotations

import asyncio
from collections import deque


class Draining(Exception):
    """The worker is stopping: what has not started is given back."""


class Slots:
    """``async with slots:`` waits for one of ``size`` slots. Raises ``Draining`` once closed."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False

    async def __aenter__(self) -> None:
        if self._closed:
            raise Draining
        if self.busy < self.size and not self._waiting:
            self.busy += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._release()

    def close(self) -> None:
        """Let nobody start any more; those who wait get ``Draining``, those who run go on."""
        self._closed = True
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(Draining())

    def _release(self) -> None:
        """Hand the slot over to the next in line, who need not compete for it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.busy -= 1
