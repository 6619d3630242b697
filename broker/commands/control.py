"""``python -m broker pause``, ``resume``, ``running``, ``cancel``, ``drain`` and ``log-level``: options and words.

What they do is in ``broker.control.actions``.

Imports of weight wait until a command runs, so that ``--help`` stays quick.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

from broker.console.escaping import plain
from broker.console.options import (
    FORMATS,
    Seconds,
    Time,
    config_option,
    configured,
    names_of,
    output_option,
    reports_errors,
    timeout_option,
    together,
)
from protocol.errors import ExitCode

if TYPE_CHECKING:
    from broker.config.settings import Settings
    from broker.control.actions import Operator
    from protocol.control import Do

T = TypeVar("T")

_queue = click.argument("queue", shell_complete=names_of("queues"))
_operator = together(output_option(*FORMATS), timeout_option(), config_option)


@click.command()
@_queue
@_operator
@reports_errors
def pause(queue: str, config: str | None, timeout_s: float, output: str) -> None:
    """Have no worker take tasks of QUEUE, from now on until `resume`. What runs goes on to its end.

    It is remembered: by workers that start later, and over restarts of the broker. With no worker to write it
    again it holds for control.retention_s.

    Exit codes: 0 ok, 4 no control stream, 69 broker unavailable or access refused, 75 not done in time,
    78 configuration, 2 usage.
    """
    from broker.console.tables import print_maps
    from broker.control.actions import HEAD

    settings = _settings(config, queue)
    now = _run(settings, timeout_s, "pause", lambda operator: operator.pause(queue))
    print_maps(HEAD, now.rows, output)
    if now.workers is None:
        click.echo("note: whether a worker is there to write it again is unknown.", err=True)
    elif not now.workers:
        kept = f"it holds for {settings.control.retention_s:,} s, unless one starts before"
        click.echo(f"note: no worker is there to write it again: {kept}.", err=True)


class Worker(click.ParamType[str]):
    """A worker as commands print it."""

    name = "worker"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        host, _, pid = str(value).rpartition(":")
        if not (host and pid.isascii() and pid.isdigit()):
            self.fail(f"{value!r} is no worker: write HOST:PID, as `running` prints it", param, ctx)
        return str(value)


_worker = click.argument("worker", type=Worker())


@click.command()
@click.argument("queue", metavar="QUEUE|WORKER", shell_complete=names_of("queues"))
@_operator
@reports_errors
def resume(queue: str, config: str | None, timeout_s: float, output: str) -> ExitCode | None:
    """Have workers take tasks of QUEUE again, or WORKER, as HOST:PID, take tasks again after `drain`.

    Exit codes: 0 ok, 4 no control stream, 69 broker unavailable or access refused, 75 the worker did not answer,
    or not done in time, 78 configuration, 2 usage.
    """
    from broker.console.tables import print_maps
    from broker.control.actions import HEAD
    from protocol.control import Do

    if ":" in queue and queue not in configured(config).queues:
        return _order(config, timeout_s, output, Worker().convert(queue, None, None), Do.RESUME)
    rows = _run(_settings(config, queue), timeout_s, "resume", lambda operator: operator.resume(queue))
    print_maps(HEAD, rows, output)
    return None


@click.command()
@_worker
@click.option("--exit", "exits", is_flag=True, help="Stop it then, as SIGTERM does.")
@_operator
@reports_errors
def drain(worker: str, exits: bool, config: str | None, timeout_s: float, output: str) -> ExitCode:
    """Have WORKER take no more tasks. What it runs goes on to its end, what it has not begun goes back.

    WORKER is HOST:PID, as `running` prints it. It stays alive, is not ready, and takes tasks again after `resume`.

    Exit codes: 0 ok, 4 no control stream, 69 broker unavailable or access refused, 75 the worker did not answer,
    or not done in time, 78 configuration, 2 usage.
    """
    from protocol.control import Do

    return _order(config, timeout_s, output, worker, Do.EXIT if exits else Do.DRAIN)


@click.command("log-level")
@_worker
@click.argument("level", type=click.Choice(["debug", "info", "warning"]))
@click.option(
    "--for",
    "for_s",
    type=Seconds(),
    metavar="S",
    default=60.0,
    show_default=True,
    help="For S seconds; then it logs as before.",
)
@_operator
@reports_errors
def log_level(
    worker: str, level: str, for_s: float, config: str | None, timeout_s: float, output: str
) -> ExitCode:
    """Have WORKER log from LEVEL on for a while; with debug also each task that ends.

    WORKER is HOST:PID, as `running` prints it. Its children, which run handlers with executor: process, log as
    before.

    Exit codes: 0 ok, 4 no control stream, 69 broker unavailable or access refused, 75 the worker did not answer,
    or not done in time, 78 configuration, 2 usage.
    """
    from protocol.control import Do

    return _order(config, timeout_s, output, worker, Do(level), for_s)


@click.command()
@click.option("--queue", metavar="QUEUE", shell_complete=names_of("queues"), help="Only tasks of this queue.")
@click.option("--task", metavar="NAME", shell_complete=names_of("tasks"), help="Only tasks of this name.")
@click.option("--older-than", "older_s", type=Seconds(), metavar="S", help="Only what has run for S seconds.")
@_operator
@reports_errors
def running(
    queue: str | None, task: str | None, older_s: float | None, config: str | None, timeout_s: float, output: str
) -> ExitCode:
    """Show what runs now on which worker, the slowest first.

    Each worker has 0.5 s to answer; which one did not is said on standard error.

    Exit codes: 0 ok, 4 no control stream, 69 broker unavailable or access refused, 75 a worker did not answer, or
    not done in time, 78 configuration, 2 usage.
    """
    from broker.console.tables import print_maps
    from broker.control.actions import RUNNING, rows_of
    from broker.control.stream import now_ms

    answers, unknown = _run(_settings(config), timeout_s, "running", lambda operator: operator.running())
    print_maps(
        RUNNING,
        [
            row
            for row in rows_of(answers, now_ms())
            if queue in (None, row["queue"])
            and task in (None, row["task"])
            and float(str(row["ran_s"])) >= (older_s or 0)
        ],
        output,
    )
    for answer in answers:
        if answer.more:
            click.echo(f"note: {answer.worker} runs {answer.more} more.", err=True)
    for text in unknown:
        click.echo(f"note: {text}.", err=True)
    return ExitCode.TIMED_OUT if unknown else ExitCode.OK


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--task", metavar="NAME", shell_complete=names_of("tasks"), help="Every task of this name.")
@click.option(
    "--before",
    type=Time(),
    metavar="TIME",
    help="With --task: sent before 15m, 2h, 3d ago, or 2026-11-24T10:30 (UTC).",
)
@click.option(
    "--for",
    "for_s",
    type=Seconds(),
    metavar="S",
    default=7 * 86400.0,
    show_default=True,
    help="Hold it for S seconds.",
)
@click.option("--wait", "waits", is_flag=True, help="Show what became of each ID, within --timeout.")
@_operator
@reports_errors
def cancel(
    ids: tuple[str, ...],
    task: str | None,
    before: int | None,
    for_s: float,
    waits: bool,
    config: str | None,
    timeout_s: float,
    output: str,
) -> ExitCode:
    """Have tasks end as `cancelled`: one that waits when it is delivered, also after a delay; one that runs is
    stopped.

    In a child process it gets SIGTERM, and after worker.cancel_grace_s SIGKILL; a coroutine is cancelled at its
    next await; a thread cannot be stopped, and finds `current().is_cancelled`. Its caller gets
    `cancelled`; no dead letter is written. A task that is done first is done. One that is replayed later runs.

    Exit codes: 0 ok, 4 no control stream, 69 broker unavailable or access refused, 75 not done in time, or a task
    has not ended by then, 78 configuration, 1 refused, 2 usage.
    """
    from broker.console.tables import print_maps
    from broker.control.actions import CANCELLED, ENDS, OPEN
    from broker.control.stream import now_ms
    from protocol.names import is_id

    if bool(ids) is (task is not None) or (before is not None and task is None):
        raise click.UsageError("name tasks by their ids, or give --task NAME, perhaps with --before TIME.")
    if waits and not ids:
        raise click.UsageError("--wait is for tasks that are named by their ids.")
    if wrong := [one for one in ids if not is_id(one)]:
        raise click.BadParameter(f"{wrong[0]!r} is no id: it has 32 digits from 0 to f.", param_hint="ID")
    settings = _settings(config)
    if task is not None and task not in settings.tasks:
        raise click.BadParameter(f"{task!r} is none of {', '.join(settings.tasks)}.", param_hint="--task")
    latest_ms = 0 if task is None else now_ms() if before is None else before
    chosen = tuple(dict.fromkeys(ids))

    async def work(operator: Operator) -> list[dict[str, object]]:
        rows = await operator.cancel(chosen, task or "", latest_ms, for_s)
        return await operator.ends_of(chosen) if waits else rows

    rows = _run(settings, timeout_s, "cancel", work)
    print_maps(ENDS if waits else CANCELLED, rows, output)
    return ExitCode.TIMED_OUT if any(row.get("end") in OPEN for row in rows) else ExitCode.OK


def _order(config: str | None, timeout_s: float, output: str, worker: str, do: Do, for_s: float = 0.0) -> ExitCode:
    from broker.console.tables import print_maps
    from broker.control.actions import ORDERED

    rows = _run(_settings(config), timeout_s, do, lambda operator: operator.order(worker, do, for_s))
    print_maps(ORDERED, rows, output)
    if not rows:
        click.echo(f"note: no answer from {plain(worker)}: whether it obeys is unknown.", err=True)
    return ExitCode.OK if rows else ExitCode.TIMED_OUT


def _settings(config: str | None, *queues: str) -> Settings:
    from broker.errors import ConfigError

    settings = configured(config)
    if not settings.control.enabled:
        raise ConfigError(
            ["control.enabled is false: nobody reads a control stream. Set it, and restart the workers."]
        )
    settings.require_queues(queues)
    return settings


def _run(settings: Settings, timeout_s: float, name: str, work: Callable[[Operator], Coroutine[Any, Any, T]]) -> T:
    import asyncio

    from broker.amqp.once import connected
    from broker.control.actions import operator

    asked = operator(settings, timeout_s, work)
    return asyncio.run(connected(settings, f"broker {name}", asked, timeout_s=timeout_s))
