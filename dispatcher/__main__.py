"""``python -m dispatcher``: send tasks and see what comes back. Data on standard output, all else on error."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import click

from broker.console.options import (
    FORMATS,
    Seconds,
    Whole,
    config_option,
    configured,
    enter,
    log_format_option,
    names_of,
    output_option,
    reports_errors,
    timeout_option,
    together,
    version_option,
    wire_option,
)
from dispatcher.commands.load import BatchSize, load
from protocol.errors import ExitCode

if TYPE_CHECKING:
    from broker.config.settings import Settings

_timeout = timeout_option(60.0, "End after S seconds (and a delay), whatever the broker does.")
_output = output_option(*FORMATS)
#: Of what comes one line after the other.
_lines = output_option(*FORMATS, default="jsonl")
_around = together(config_option, log_format_option, click.pass_context, reports_errors)
_task_options = together(
    click.argument("task", shell_complete=names_of("tasks")),
    click.option(
        "-a", "--argument", "pairs", multiple=True, metavar="KEY=VALUE", help="One argument; JSON if it is JSON."
    ),
    click.option("--json", "text", metavar="OBJECT", help="All arguments as a JSON object."),
    click.option(
        "--delay",
        "delay_s",
        type=Seconds(or_zero=True),
        default=0.0,
        metavar="S",
        help="Wait S seconds in the delay line first.",
    ),
    click.option(
        "--expires",
        "expires_s",
        type=Seconds(),
        metavar="S",
        help="Bury it if it has not started within S seconds.",
    ),
)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@config_option
@version_option
@log_format_option
@_timeout
@_output
@click.pass_context
@reports_errors
def main(context: click.Context, config: str | None, timeout_s: float, output: str) -> ExitCode | None:
    """Send the workload of the configuration, all at once; or one of the commands below.

    Exit codes, the first that applies: 78 configuration, 69 broker unavailable, 4 unroutable, unknown task or
    missing mailbox, 75 timed out with unknown outcome, 1 a task failed, 0 ok; 2 usage, 130 interrupted.
    """
    if context.invoked_subcommand is not None:
        for parameter, name in (("timeout_s", "timeout"), ("output", "output")):
            if context.get_parameter_source(parameter) is not click.core.ParameterSource.DEFAULT:
                raise click.UsageError(f"give --{name} after the command: {context.invoked_subcommand} --{name} …")
        context.obj = config
        return None
    from dispatcher.commands.tasks import run_workload

    return _run(lambda settings: run_workload(settings, timeout_s, output), config)


@main.command()
@_task_options
@wire_option
@_timeout
@_output
@_around
def call(
    context: click.Context,
    config: str | None,
    task: str,
    pairs: tuple[str, ...],
    text: str | None,
    wire: bool,
    **options: Any,
) -> ExitCode:
    """Have TASK done and print its result (-o json: the whole reply)."""
    from dispatcher.commands.tasks import call as command

    arguments = _arguments(pairs, text)
    if not wire:
        return _run(lambda settings: command(settings, task, arguments, **options), config or context.obj)
    from broker.wire.own import recorded

    async def call_recorded(settings: Settings) -> ExitCode:
        async with recorded(settings) as own:
            return await command(own, task, arguments, **options)

    return _run(call_recorded, config or context.obj)


@main.command("map")
@click.argument("task", shell_complete=names_of("tasks"))
@click.argument("file", default="-", type=click.Path(dir_okay=False, exists=True, allow_dash=True))
@click.option("--window", type=Whole(min=1), help="Tasks in progress.  [default: 500, in batches up to 20000]")
@click.option(
    "--batch", type=BatchSize(), help="Tasks in one message, for tasks of milliseconds: a number, or auto."
)
@click.option(
    "--verbose", is_flag=True, help="Say at the end what was published, confirmed, returned and answered."
)
@timeout_option(60.0, "Seconds to wait for each task.")
@_lines
@_around
def map_(context: click.Context, config: str | None, task: str, file: str, **options: Any) -> ExitCode:
    """Have TASK done for each line of FILE: a JSON object of arguments in, a JSON reply out.

    Replies come in order of completion, each with the number of its line; memory does not grow with the input.
    """
    from dispatcher.commands.tasks import map_lines

    return _run(lambda settings: map_lines(settings, task, file, **options), config or context.obj)


@main.command()
@_task_options
@click.option(
    "--mailbox",
    metavar="NAME",
    shell_complete=names_of("mailboxes"),
    help="Where the reply is to go; read it with `collect NAME`.",
)
@_timeout
@_output
@_around
def submit(
    context: click.Context,
    config: str | None,
    task: str,
    pairs: tuple[str, ...],
    text: str | None,
    mailbox: str | None,
    **options: Any,
) -> ExitCode:
    """Send TASK and print its id once the broker has it; do not wait for its end."""
    from dispatcher.commands.tasks import submit as command

    arguments = _arguments(pairs, text)
    if mailbox is not None:
        _check_mailbox(mailbox)
    return _run(
        lambda settings: command(settings, task, arguments, mailbox=mailbox, **options), config or context.obj
    )


@main.command()
@click.argument("name", shell_complete=names_of("mailboxes"))
@click.option("-n", "--count", type=Whole(min=1), help="Wait for this many (exit 75 if they do not come).")
@_timeout
@_lines
@_around
def collect(context: click.Context, config: str | None, name: str, **options: Any) -> ExitCode:
    """Print the replies in mailbox NAME, a JSON line each: what is there, or COUNT of them.

    A reply leaves the mailbox only after it was printed: if this is killed, some may come again. Exit 1 if one of
    them is a failure.
    """
    from dispatcher.commands.tasks import collect as command

    _check_mailbox(name)
    return _run(lambda settings: command(settings, name, **options), config or context.obj)


@main.command()
@reports_errors
def demo() -> ExitCode:
    """Show the whole thing on a private broker: workers, results, a retry, a dead letter. Then clean up."""
    from dispatcher.commands.demo import run

    return run()


main.add_command(load)


def _run(command: Callable[[Settings], Coroutine[Any, Any, ExitCode]], config: str | None) -> ExitCode:
    import asyncio

    from broker.console import gc_tuning as garbage

    settings = configured(config)
    garbage.look_less_often()
    return asyncio.run(command(settings))


def _arguments(pairs: tuple[str, ...], text: str | None) -> dict[str, Any]:
    from dispatcher.json_lines import BadLine, arguments_of

    try:
        return arguments_of(pairs, text)
    except (BadLine, ValueError) as error:
        raise click.UsageError(f"arguments: {error}") from error


def _check_mailbox(name: str) -> None:
    from protocol.names import is_mailbox_name

    if not is_mailbox_name(name):
        raise click.UsageError(f"mailbox {name!r}: use a-z, 0-9, _ and -, at most 64 characters.")


if __name__ == "__main__":
    enter(main, prog_name="python -m dispatcher")
