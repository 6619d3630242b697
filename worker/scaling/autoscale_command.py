"""``python -m worker autoscale QUEUE…``: looks, decides, and says why; the pool of ``up`` does it, or docker."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from broker.console.options import (
    Whole,
    config_option,
    configured,
    log_format_option,
    names_of,
    output_option,
    reports_errors,
)
from worker.scaling.up_command import until_stopped, worker_options

if TYPE_CHECKING:
    from broker.config.settings import Settings
    from worker.scaling.autoscale import Decision, Memory
    from worker.scaling.observe import Look, Watch
    from worker.scaling.target import Workers


@click.command()
@click.argument("queues", nargs=-1, required=True, metavar="QUEUE...", shell_complete=names_of("queues"))
@config_option
@click.option(
    "--over",
    type=click.Choice(["local", "compose"]),
    default="local",
    show_default=True,
    help="Processes of this command, or containers of Docker Compose.",
)
@click.option("--concurrency", type=Whole(min=1), help="Tasks at a time of each local worker.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done for the workers that there are.")
@click.option("--once", is_flag=True, help="One look and what would be done, and no more; changes nothing.")
@output_option("text", "json")
@log_format_option
@reports_errors
def autoscale(
    queues: tuple[str, ...],
    config: str | None,
    over: str,
    concurrency: int | None,
    dry_run: bool,
    once: bool,
    output: str,
) -> None:
    """Keep as many workers of each QUEUE as it needs, until SIGTERM or Ctrl-C.

    The section `scaling` of the configuration says what a queue needs, and the bounds. More workers come at once,
    at most twice as many at a time; they go when fewer have been enough for a while, those that hold least first,
    and each finishes what it runs. Every change is one line on standard output, with its reason.
    Local workers end with this command; containers stay.
    """
    import os

    from worker.scaling.observe import Watch

    if over == "compose" and concurrency is not None:
        raise click.UsageError("--concurrency is for local workers: a container has that of its service.")
    # As if by the environment, so that it is checked together with everything it has to fit.
    own = {} if concurrency is None else {"GLASSRABBIT__WORKER__CONCURRENCY": str(concurrency)}
    settings = configured(config, {**os.environ, **own})
    settings.require_queues(queues)
    queues = tuple(dict.fromkeys(queues))

    async def scale() -> None:
        is_dry = dry_run or once
        if over == "compose":
            workers = await _containers(settings, queues)
        else:
            workers = _local(settings, queues, worker_options(config, concurrency), is_dry=is_dry)
        watch = Watch(settings, queues)
        scaler = Scaler(settings, queues, watch, workers, partial(_show, output=output), is_dry=is_dry)
        try:
            await until_stopped(workers, scaler.look if once else scaler.run)
        finally:
            await watch.close()

    asyncio.run(scale())


async def _containers(settings: Settings, queues: tuple[str, ...]) -> Workers:
    from worker.scaling.compose import project_of
    from worker.scaling.containers import Containers

    project = await project_of(settings, queues)
    return Containers(project, await project.containers())


def _local(settings: Settings, queues: tuple[str, ...], options: list[str], *, is_dry: bool) -> Workers:
    import os

    from worker.scaling.pool import Pool

    pool = Pool(settings, options, os.environ)
    for queue in () if is_dry else queues:
        pool.want(queue, settings.scaling.min_replica_count)
    return pool


class Scaler:
    """Looks at the queues again and again, and gives each what it needs. Dry, it only reports."""

    def __init__(
        self,
        settings: Settings,
        queues: tuple[str, ...],
        watch: Watch,
        workers: Workers,
        show: partial[None],
        *,
        is_dry: bool,
    ) -> None:
        from worker.scaling.autoscale import Memory

        self._settings = settings
        self._watch = watch
        self._workers = workers
        self._show = show
        self._is_dry = is_dry
        self._memory: dict[str, Memory] = {queue: Memory() for queue in queues}
        self._shown: dict[str, tuple[int, str]] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._settings.scaling.polling_interval_s)

    async def look(self) -> None:
        """One look, one decision for each queue, and what follows from it."""
        await self._workers.refresh()
        look = await self._watch.look()
        for queue in self._memory:
            decision = self._decide(queue, look)
            if not self._is_dry:
                self._workers.want(queue, decision.after, look.held)
            if self._is_news(queue, decision):
                self._show(queue, decision)

    def _decide(self, queue: str, look: Look) -> Decision:
        from broker.config.settings import effective_prefetch
        from worker.scaling.autoscale import decide

        decision, self._memory[queue] = decide(
            self._settings.scaling,
            look.samples.get(queue),
            self._count(queue, look.consumers),
            effective_prefetch(self._settings.queues[queue], self._settings.worker),
            self._memory[queue],
            time.monotonic(),
        )
        return decision

    def _count(self, queue: str, consumers: Mapping[str, int]) -> int:
        return consumers.get(queue, 0) if self._is_dry else self._workers.count(queue)

    def _is_news(self, queue: str, decision: Decision) -> bool:
        """A change; and a reason to stay, when it begins."""
        kind = (decision.after, "without numbers" if decision.sample is None else "")
        is_first = self._shown.get(queue) != kind
        self._shown[queue] = kind
        return is_first or decision.before != decision.after


def _show(queue: str, decision: Decision, output: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if output == "json":
        click.echo(json.dumps({"time": now, "queue": queue, **decision.as_json()}, ensure_ascii=False))
    else:
        click.echo(f"{now[11:19]} {queue} {decision}")
