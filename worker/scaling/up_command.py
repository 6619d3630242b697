"""``python -m worker up QUEUE=N…``: options, signals, and the wait in between."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import click

from broker.console.options import Whole, config_option, configured, log_format_option, reports_errors
from worker.stops import Stop, Stops, has_terminal, heeded

if TYPE_CHECKING:
    from worker.scaling.target import Workers

log = logging.getLogger("glassrabbit.pool")


class QueueCount(click.ParamType[tuple[str, int]]):
    """QUEUE=N."""

    name = "queue=n"
    MOST = 1000

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        queue, _, count = str(value).partition("=")
        if not queue or not (count.isascii() and count.isdigit()) or int(count) > self.MOST:
            self.fail(f"{value!r} is not QUEUE=N with N from 0 to {self.MOST}, like queue_a=2", param, ctx)
        return queue, int(count)


@click.command()
@click.argument("wanted", nargs=-1, required=True, metavar="QUEUE=N...", type=QueueCount())
@config_option
@click.option("--concurrency", type=Whole(min=1), help="Tasks at a time of each worker.")
@log_format_option
@reports_errors
def up(wanted: tuple[tuple[str, int], ...], config: str | None, concurrency: int | None) -> None:
    """Keep N local workers of each QUEUE alive, until SIGTERM or Ctrl-C.

    A worker that ends is started again, later each time. SIGHUP replaces all of them, one after the other, each
    when its successor is ready; but the end of the terminal is a stop. The first signal to stop lets what runs
    finish within worker.grace_s; a second one stops at once, and what is unfinished goes back.
    """
    import os

    from worker.scaling.pool import Pool

    settings = configured(config)
    settings.require_queues([queue for queue, _ in wanted])

    async def keep() -> None:
        pool = Pool(settings, worker_options(config, concurrency), os.environ)
        for queue, count in dict(wanted).items():
            pool.want(queue, count)
        await until_stopped(pool, asyncio.Event().wait)

    asyncio.run(keep())


def worker_options(config: str | None, concurrency: int | None) -> list[str]:
    """The options of each worker, as ours were given."""
    given = (("--config", config), ("--concurrency", concurrency))
    return [word for name, value in given if value is not None for word in (name, str(value))]


async def until_stopped(workers: Workers, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Do ``work`` until it ends, or until SIGTERM or SIGINT; then let the workers go. SIGHUP replaces them, unless
    it is the end of our terminal."""
    loop = asyncio.get_running_loop()
    stopping, rolls, stops = asyncio.Event(), set[asyncio.Task[None]](), Stops()
    minds_terminal = signal.SIGHUP in heeded() and has_terminal()

    def on_stop(number: signal.Signals) -> None:
        match stops.hear(number, loop.time()):
            case Stop.FINISH:
                log.info("%s: %s", number.name, workers.at_stop)
                stopping.set()
            case Stop.AT_ONCE:
                log.warning("%s again: stopping at once", number.name)
                workers.abort()

    def on_hangup() -> None:
        if minds_terminal and not has_terminal():
            on_stop(signal.SIGHUP)
        elif not stopping.is_set() and not rolls:
            roll = asyncio.create_task(workers.roll())
            rolls.add(roll)
            roll.add_done_callback(rolls.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_stop, number)
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    tasks = {asyncio.create_task(stopping.wait()), asyncio.create_task(work())}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*tasks, *rolls):
            task.cancel()
        await asyncio.gather(*tasks, *rolls, return_exceptions=True)
        await workers.stop()
    for task in done:
        task.result()
