"""``python -m worker QUEUE…``: a worker until SIGTERM, SIGHUP or Ctrl-C."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import click

from broker.console.options import (
    Whole,
    config_option,
    enter,
    log_format_option,
    names_of,
    reports_errors,
    version_option,
    wire_option,
)
from worker.init import be_init
from worker.scaling.autoscale_command import autoscale
from worker.scaling.scale_command import scale
from worker.scaling.up_command import up
from worker.stops import heeded

COMMANDS = {"up": up, "scale": scale, "autoscale": autoscale}


class WithCommands(click.Command):
    """A command whose first argument may name another one instead, unless a queue is called so."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] in COMMANDS and not _is_queue(args[0], args[1:]):
            command = COMMANDS[args[0]]
            extra["help_option_names"] = ["-h", "--help"]
            return command.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        be_init()
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands, each with a --help of its own"):
            formatter.write_dl([(name, command.get_short_help_str(80)) for name, command in COMMANDS.items()])


def _is_queue(word: str, others: list[str]) -> bool:
    """Whether the configuration, also one that is named further on, has a queue of that name."""
    from broker.config.loader import load
    from broker.errors import ConfigError

    named = [after for before, after in pairwise(others) if before in ("-c", "--config")]
    named += [other.partition("=")[2] for other in others if other.startswith("--config=")]
    try:
        return word in load(named[-1] if named else None).queues
    except ConfigError:
        return False  # the command reports what is wrong


@click.command(cls=WithCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("queues", nargs=-1, required=True, metavar="QUEUE...", shell_complete=names_of("queues"))
@config_option
@click.option("--concurrency", type=Whole(min=1), help="Tasks at a time (default: worker.concurrency).")
@log_format_option
@click.option("-v", "--verbose", is_flag=True, help="Log more: each task that ends, too.")
@wire_option
@version_option
@reports_errors
def main(queues: tuple[str, ...], config: str | None, concurrency: int | None, verbose: bool, wire: bool) -> None:
    """Run the tasks of QUEUE..., until SIGTERM, Ctrl-C or the end of the terminal.

    The first signal lets what runs finish and gives the rest back; a second one stops at once. Says `ready` on
    standard error once it consumes. Exits with 0 when stopped, 78 if the configuration is wrong.
    """
    import asyncio
    import os
    import signal

    # Only noted until there is something to stop: what is raised here may be swallowed, since Python calls back in
    # the middle of imports, and passes over what these callbacks raise.
    early: list[signal.Signals] = []
    for number in heeded():
        signal.signal(number, lambda number, _frame: early.append(signal.Signals(number)))

    from broker.config.loader import load
    from broker.console import logs, streams
    from worker.command import run
    from worker.telemetry.log_fields import of_worker

    # What handlers print is no data of ours.
    streams.print_to_stderr()
    logs.configure(verbose=verbose, fields=of_worker(os.getpid()))
    # As if by the environment, so that it is checked together with everything it has to fit.
    own = {} if concurrency is None else {"GLASSRABBIT__WORKER__CONCURRENCY": str(concurrency)}
    own |= {"GLASSRABBIT__WORKER__LOG_TASKS": "true"} if verbose else {}
    settings = load(config, {**os.environ, **own})
    if not wire:
        asyncio.run(run(settings, queues, early))
        return
    from broker.wire.own import recorded

    async def run_recorded() -> None:
        async with recorded(settings) as by_proxy:
            await run(by_proxy, queues, early)

    asyncio.run(run_recorded())


if __name__ == "__main__":
    enter(main, prog_name="python -m worker")
