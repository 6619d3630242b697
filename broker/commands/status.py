"""``python -m broker status``: options, and when to look again.

Imports of weight wait until the command runs, so that ``--help`` stays quick.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click

from broker.console.escaping import plain
from broker.console.options import Seconds, config_option, output_option, reports_errors, timeout_option
from protocol.errors import ExitCode

if TYPE_CHECKING:
    from broker.status.summary import Status


@click.command()
@config_option
@click.option("--watch", "every_s", type=Seconds(), metavar="S", help="Look again every S seconds, until Ctrl-C.")
@click.option("--delays", is_flag=True, help="Show the delay line level by level.")
@click.option(
    "--oldest",
    is_flag=True,
    help="See how old the next task of each queue is: takes it and gives it back, which counts as a delivery.",
)
@output_option("table", "json")
@timeout_option()
@reports_errors
def status(
    config: str | None, every_s: float | None, delays: bool, oldest: bool, output: str, timeout_s: float
) -> ExitCode:
    """Show queues, the delay line, dead letters and workers.

    Ready messages and consumers are asked by AMQP, and are as of now. Unacked tasks, rates and workers come from
    the management API, up to 10 s old; without it they are unknown. What workers have done is asked of those on
    this machine. Looking changes nothing, but for --oldest. A count that nobody knows, as of a queue without a
    leader, is `?`; --timeout is for each look.

    Exit codes: 0 ok, 69 broker unavailable, 75 a count is unknown, 78 configuration, 130 a watch was interrupted.
    """
    from broker.config.loader import load
    from broker.status.look import look

    settings = load(config)
    if output == "json":
        show = partial(_show_json, indent=2 if every_s is None else None)
    else:
        show = partial(_show_tables, delays=delays, clear=every_s is not None)
    if every_s is not None:
        return _watch(lambda: show(look(settings, timeout_s, oldest=oldest)), every_s)
    seen = look(settings, timeout_s, oldest=oldest)
    show(seen)
    return ExitCode.TIMED_OUT if seen.unknown else ExitCode.OK


def _watch(show: Callable[[], None], every_s: float) -> ExitCode:
    """Look until Ctrl-C. A broker that goes away after the first look is waited for."""
    from broker.errors import BrokerError

    try:
        show()
        while True:
            time.sleep(every_s)
            try:
                show()
            except BrokerError as error:
                click.echo(f"error: {plain(str(error))}", err=True)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def _show_json(seen: Status, *, indent: int | None) -> None:
    from broker.status.text import to_json

    click.echo(to_json(seen, indent=indent))


def _show_tables(seen: Status, *, delays: bool, clear: bool) -> None:
    from broker.console.tables import console
    from broker.status.text import to_tables

    output = console()
    if clear and output.is_terminal:
        output.clear()
    output.print(to_tables(seen, delays=delays))
    sys.stdout.flush()
    for note in seen.notes:
        click.echo(f"note: {plain(note)}", err=True)
