"""What the three command lines share: options, and the seam where an error becomes an exit code."""

from __future__ import annotations

import errno
import functools
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click

from broker.console import log_format
from broker.console.escaping import plain
from broker.console.streams import make_safe
from protocol import __version__
from protocol.errors import ExitCode, GlassrabbitError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from broker.config.settings import Settings


class Whole(click.IntRange):
    """A whole number within bounds."""

    name = "whole number"


class Number(click.FloatRange):
    """A number within bounds."""

    name = "number"


class Seconds(click.ParamType[float]):
    """A finite number of seconds, above zero; or zero as well."""

    name = "seconds"

    def __init__(self, *, or_zero: bool = False) -> None:
        self._or_zero = or_zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        if not 0 < seconds < float("inf") and not (self._or_zero and seconds == 0):
            least = "of at least 0" if self._or_zero else "above 0"
            self.fail(f"{value} is not a finite number of seconds {least}", param, ctx)
        return seconds


class Time(click.ParamType[int]):
    """A time ago, or a date or time; in epoch milliseconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from broker.console.arguments import since_ms

        try:
            return since_ms(value, time.time_ns() // 1_000_000)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time: write 15m, 2h, 3d, or 2026-11-24T10:30.", param, ctx)


def configured(config: str | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The configuration that a command goes by; its log is set up first. Raises ``ConfigError``."""
    from broker.config.loader import load
    from broker.console.logs import configure

    configure()
    return load(config, environ)


config_option = click.option(
    "-c", "--config", type=click.Path(dir_okay=False), help="Configuration file (default: config.yml)."
)

wire_option = click.option("--wire", is_flag=True, help="Print its AMQP frames on standard error.")

version_option = click.version_option(__version__, message="glassrabbit %(version)s")


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def together(*options: Decorator) -> Decorator:
    """Several options as one decorator, in the order of the help."""
    return lambda command: functools.reduce(lambda inner, option: option(inner), reversed(options), command)


def timeout_option(
    default_s: float = 10.0, text: str = "End after S seconds, whatever the broker does."
) -> Decorator:
    """``timeout_s``, for the whole of a command that asks a broker."""
    kind, metavar = Seconds(), "S" if " S " in text else None
    return click.option(
        "--timeout", "timeout_s", type=kind, default=default_s, show_default=True, metavar=metavar, help=text
    )


FORMATS = ("table", "json", "jsonl", "plain")


def output_option(*formats: str, default: str = "") -> Decorator:
    """``-o``. Without a default it is the first of the formats."""
    kind, default = click.Choice(formats), default or formats[0]
    return click.option("-o", "--output", type=kind, default=default, show_default=True, help="Output format.")


def names_of(section: Literal["queues", "tasks", "mailboxes"]) -> Callable[..., list[CompletionItem]]:
    """For ``shell_complete=``: the names of the configuration that fit and were not given yet.

    Asks no broker; of a configuration that is wrong there are none.
    """

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from broker.config.loader import load
        from broker.errors import ConfigError

        try:
            settings = load(context.params.get("config") or context.find_root().params.get("config"))
        except ConfigError:
            return []
        given = context.params.get(parameter.name or "") or ()
        what = {name: f"{task.queue}, {task.handler}" for name, task in settings.tasks.items()}
        return [
            CompletionItem(name, help=what.get(name) if section == "tasks" else None)
            for name in getattr(settings, section)
            if name.startswith(incomplete) and name not in given
        ]

    return complete


def _choose_format(_context: click.Context, _parameter: click.Parameter, name: str | None) -> None:
    if name is not None:
        log_format.choose(name)


log_format_option = click.option(
    "--log-format",
    type=click.Choice([log_format.TEXT, log_format.JSON]),
    envvar=log_format.VARIABLE,
    callback=_choose_format,
    expose_value=False,
    help=f"Log for people or for machines (default: {log_format.TEXT}).",
)


def reports_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Run a command; an error of ours is reported in its own words on standard error, without a traceback."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            code = command(*arguments, **options)
        except GlassrabbitError as error:
            _report(str(error))
            code = error.exit_code
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            code = ExitCode.INTERRUPTED
        # A group returns nothing, and its command has yet to run.
        if code is not None:
            raise SystemExit(int(code))

    return run


def enter(command: Callable[..., object], *arguments: object, **options: object) -> NoReturn:
    """The entry of every command: with streams that are safe, and an end by exit code whatever becomes of them."""
    make_safe()
    end = SystemExit(ExitCode.OK)
    try:
        try:
            command(*arguments, **options)
        except SystemExit as raised:
            end = raised
        sys.stdout.flush()
    except OSError as error:
        # A pipe whose reader has enough needs no word. Nothing more can be written there, either way.
        if not isinstance(error, BrokenPipeError):
            text = error.strerror or str(error)
            named = f"{error.filename}: {text}" if error.filename else text
            _report(_UNWRITABLE.get(error.errno or 0, named))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        end = SystemExit(end.code or int(ExitCode.FAILED))
    raise end


#: Only of a standard stream: files are opened by name, and the errors of sockets are mapped.
_UNWRITABLE = {
    errno.EBADF: "standard output is closed, and there is something to write",
    errno.ENOSPC: "standard output takes no more: no space is left there",
    errno.EIO: "standard output takes no more: its terminal is gone",
}


def _report(error: str) -> None:
    for line in error.split("\n"):
        if log_format.is_json():
            from broker.console.logs import log_error

            log_error(line)
        else:
            click.echo(f"error: {plain(line)}", err=True)
