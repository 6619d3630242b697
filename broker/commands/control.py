"""``python -m broker pause``, ``resume``, ``drain`` and ``log-level``: options and words.

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
operator_options = together(output_option(*FORMATS), timeout_option(), config_option)


@click.command()
@_queue
@operator_options
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

    settings = steered_settings(config, queue)
    now = as_operator(settings, timeout_s, "pause", lambda operator: operator.pause(queue))
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
@operator_options
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
    rows = as_operator(
        steered_settings(config, queue), timeout_s, "resume", lambda operator: operator.resume(queue)
    )
    print_maps(HEAD, rows, output)
    return None


@click.command()
@_worker
@click.option("--exit", "exits", is_flag=True, help="Stop it then, as SIGTERM does.")
@operator_options
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
@operator_options
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


def _order(config: str | None, timeout_s: float, output: str, worker: str, do: Do, for_s: float = 0.0) -> ExitCode:
    from broker.console.tables import print_maps
    from broker.control.actions import ORDERED

    rows = as_operator(steered_settings(config), timeout_s, do, lambda operator: operator.order(worker, do, for_s))
    print_maps(ORDERED, rows, output)
    if not rows:
        click.echo(f"note: no answer from {plain(worker)}: whether it obeys is unknown.", err=True)
    return ExitCode.OK if rows else ExitCode.TIMED_OUT


def steered_settings(config: str | None, *queues: str) -> Settings:
    """Of a configuration that has a control stream and these queues; raises ``ConfigError``."""
    from broker.errors import ConfigError

    settings = configured(config)
    if not settings.control.enabled:
        raise ConfigError(
            ["control.enabled is false: nobody reads a control stream. Set it, and restart the workers."]
        )
    settings.require_queues(queues)
    return settings


def as_operator(
    settings: Settings, timeout_s: float, name: str, work: Callable[[Operator], Coroutine[Any, Any, T]]
) -> T:
    """What ``work`` returns of an operator who has read the control stream."""
    import asyncio

    from broker.amqp.once import connected
    from broker.control.actions import operator

    asked = operator(settings, timeout_s, work)
    return asyncio.run(connected(settings, f"broker {name}", asked, timeout_s=timeout_s))
