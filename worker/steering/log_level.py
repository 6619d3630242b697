"""How much a worker logs for a while: another level, and at ``debug`` each task that ends."""

from __future__ import annotations

import asyncio
import logging

from broker.console.logs import set_level
from protocol.control import Do, Order
from worker.lifecycle import Lifecycle

log = logging.getLogger("glassrabbit.worker")


class LogLevel:
    """Life: ``change`` as often as one likes; it goes back by itself."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._back: asyncio.TimerHandle | None = None
        self._usual = (logging.INFO, False)

    def change(self, order: Order, now_ms: int) -> None:
        left_s = (order.until - now_ms) / 1000
        if left_s <= 0:
            return
        if self._back is None:
            self._usual = log.getEffectiveLevel(), self._lifecycle.log_tasks
        else:
            self._back.cancel()
        self._set(logging.getLevelNamesMapping()[order.do.upper()], order.do is Do.DEBUG)
        log.warning("log level %s for %.0f s, by %s", order.do, left_s, order.by)
        self._back = asyncio.get_running_loop().call_later(left_s, self._go_back)

    def _go_back(self) -> None:
        self._back = None
        self._set(*self._usual)
        log.warning("log level %s again", logging.getLevelName(self._usual[0]).lower())

    def _set(self, level: int, tasks: bool) -> None:
        set_level(level)
        self._lifecycle.log_tasks = tasks
