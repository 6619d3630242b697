"""What ``python -m worker`` does: a worker, its signals, and the line that says ``ready``."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from broker.config.settings import Settings
from broker.config.tls import is_in_the_open
from broker.console import gc_tuning as garbage
from worker.execution.executors import Executors
from worker.execution.handler_folders import add_to_path, handler_folders, warn_of_clashes
from worker.health.pages import serving
from worker.stops import Stop, Stops, heeded

if TYPE_CHECKING:
    from worker.worker import Worker

log = logging.getLogger("glassrabbit.worker")

#: How often readiness is looked at.
READINESS_S = 1.0


async def run(settings: Settings, queues: Sequence[str], early: list[signal.Signals]) -> None:
    """Work until SIGTERM, SIGINT or SIGHUP; those in ``early`` came before. Raises ``ConfigError``."""
    folders = handler_folders(settings)
    warn_of_clashes(folders)
    add_to_path(folders)
    executors = Executors(settings, queues)
    worker: Worker | None = None
    stops = Stops()

    def hear(number: signal.Signals) -> None:
        if worker is None:
            early.append(number)
        else:
            _on_signal(worker, number, stops)

    # One handler for good: a signal that the loop has taken and not handed on yet would go to the earlier one.
    for number in heeded():
        asyncio.get_running_loop().add_signal_handler(number, hear, number)
    executors.begin()
    # Children load their handlers while this process loads what speaks AMQP.
    worker = (await asyncio.to_thread(_worker))(settings, queues, executors)
    garbage.look_less_often()
    for endpoint in filter(is_in_the_open, settings.broker.endpoints):
        log.warning(
            "%s is not encrypted: anyone on that network can read password and tasks. Use amqps:// there, "
            "see docs/tls.md",
            endpoint,
        )
    for number in early:
        _on_signal(worker, number, stops)
    many = f"{settings.worker.concurrency} at a time"
    if executors.run_coroutines:
        many += " (worker.concurrency; of coroutines it may be hundreds)"
    announce = asyncio.create_task(_announce(worker, many))
    try:
        async with serving(worker, settings.worker.http):
            await worker.run()
    finally:
        announce.cancel()
    log.info(
        "stopped: %s", ", ".join(f"{what} {count}" for what, count in sorted(worker.counts.items())) or "idle"
    )


def _worker() -> type[Worker]:
    from worker.worker import Worker

    return Worker


async def _announce(worker: Worker, many: str) -> None:
    """Say ``ready`` once it consumes, and from then on when that changes and when it is so again."""
    await worker.wait_ready()
    log.info("ready: %s consumes %s, %s", worker.identity, ", ".join(worker.queues), many)
    logged: str | None = None
    while True:
        await asyncio.sleep(READINESS_S)
        if worker.is_draining:
            return
        problem = worker.problem
        if problem != logged:
            log.warning("not ready: %s", problem) if problem else log.warning("ready again")
            logged = problem


def _on_signal(worker: Worker, number: signal.Signals, stops: Stops) -> None:
    match stops.hear(number, time.monotonic()):
        case Stop.FINISH:
            log.info("%s: finishing what runs (again: stop at once)", number.name)
            worker.drain()
        case Stop.AT_ONCE:
            log.warning("%s again: stopping at once, everything unfinished goes back", number.name)
            worker.abort()
