"""``python -m dispatcher load``: its options."""

from __future__ import annotations

from typing import Any

import click

from broker.console.options import (
    Number,
    Seconds,
    Whole,
    config_option,
    log_format_option,
    output_option,
    reports_errors,
    timeout_option,
    together,
)
from protocol.errors import ExitCode

_output = output_option("table", "json")
#: ``--collect``: each task before the next, a thread for each in progress, a stream of ends, a stream of batches.
_WAYS = ("sequential", "threads", "async", "batch")


class BatchSize(click.ParamType[Any]):
    """A number of tasks, or ``auto``."""

    name = "n|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "auto" else Whole(min=1).convert(value, param, ctx)


# What `load` and `load ab` have in common.
_load = together(
    click.option("--rate", type=Number(min=0, min_open=True, max=1e6), metavar="R", help="Send R tasks a second."),
    click.option("--window", type=Whole(1, 20_000), help="Or keep this many in progress.  [default: 500]"),
    click.option(
        "--task", "tasks", multiple=True, metavar="NAME[=WEIGHT]", help="A task of the mix.  [default: noop]"
    ),
    click.option(
        "-a", "--argument", "pairs", multiple=True, metavar="KEY=VALUE", help="One argument of each task."
    ),
    click.option("--json", "text", metavar="OBJECT", help="All arguments as a JSON object."),
)
_batch = click.option("--batch", type=BatchSize(), help="Tasks in one message: a number, or auto.")
_timeout = timeout_option(60.0, "Seconds to wait for each task.")
_around = together(_output, config_option, log_format_option, click.pass_context, reports_errors)


@click.group(invoke_without_command=True)
@click.option("-n", "--count", type=Whole(min=1), help="Tasks to send.  [default: 1000, or by --duration]")
@click.option("--duration", type=Seconds(), metavar="S", help="Send for S seconds.")
@_load
@click.option("--failing", type=Number(0, 1), default=0.0, metavar="SHARE", help="Share that fails.")
@click.option(
    "--failing-with",
    metavar="OBJECT",
    default='{"reject": true}',
    show_default=True,
    help="Arguments that make them fail.",
)
@_batch
@click.option("--collect", type=click.Choice(_WAYS), default="async", show_default=True, help="How to wait.")
@_timeout
@click.option(
    "--threshold", "thresholds", multiple=True, metavar="RULE", help="Like 'p95<250ms'; exit 1 if missed."
)
@click.option("--out", type=click.Path(dir_okay=False), metavar="FILE", help="Write the run for `load compare`.")
@_around
def load(context: click.Context, config: str | None, **options: Any) -> ExitCode | None:
    """Send many tasks, and say what came of them and how long it took.

    With --rate each task has its time and its latency counts from then, whether the system keeps up or not; else
    --window tasks are in progress. Exit codes: 4 tasks without a queue, 75 lost, 1 a threshold missed, 0 ok.
    """
    if context.invoked_subcommand is not None:
        context.obj = config or context.obj
        return None
    if options["rate"] is not None and options["window"] is not None:
        raise click.UsageError("--rate or --window, not both: a rate does not wait for what is in progress.")
    from dispatcher.load_test.session import run_session

    return run_session(config or context.obj, **options)


@load.command()
@click.argument(
    "files", nargs=-1, required=True, metavar="A.json B.json…", type=click.Path(exists=True, dir_okay=False)
)
@click.option(
    "--plot", type=click.Path(dir_okay=False), metavar="FILE", help="Draw them: x.svg (needs matplotlib)."
)
@_output
@log_format_option
@reports_errors
def compare(files: tuple[str, ...], plot: str | None, output: str) -> ExitCode:
    """Show runs side by side, and draw them."""
    from dispatcher.load_test.compare import compare as command

    return command(files, output, plot)


@load.command()
@click.option("--a", "left", multiple=True, metavar="KEY=VALUE", help="A setting of A, like worker.prefetch=1.")
@click.option("--b", "right", multiple=True, metavar="KEY=VALUE", help="A setting of B.")
@click.option("-n", "--count", type=Whole(min=1), default=500, show_default=True, help="Tasks of a turn.")
@click.option("--rounds", type=Whole(6, 1000), default=10, show_default=True, help="Turns of each side.")
@click.option("--workers", type=Whole(1, 100), default=1, show_default=True, help="Workers of a side.")
@_load
@_batch
@_timeout
@click.option("--out", type=click.Path(dir_okay=False), metavar="FILE", help="Write the comparison, as JSON.")
@_around
def ab(context: click.Context, config: str | None, **options: Any) -> ExitCode:
    """Compare two configurations on the same load, turn by turn, and say which is faster.

    KEY as `python -m broker config show` prints it; worker.prefetch is the prefetch of each queue of the test. It
    starts the workers itself, those of one side at a time, in queues that have to be empty. Exit codes: as load.
    """
    if options["rate"] is not None and options["window"] is not None:
        raise click.UsageError("--rate or --window, not both: a rate does not wait for what is in progress.")
    from dispatcher.load_ab.session import run_ab

    return run_ab(config or context.obj, **options)
