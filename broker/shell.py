"""What the three command lines share: options, and the seam where an error becomes an exit code."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from broker.escaping import plain
from protocol.errors import ExitCode, GlassrabbitError


class Seconds(click.ParamType[float]):
    """A finite number of seconds, above zero."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        if not 0 < seconds < float("inf"):
            self.fail(f"{value} is not a finite number of seconds above 0", param, ctx)
        return seconds


config_option = click.option(
    "-c", "--config", type=click.Path(dir_okay=False), help="Configuration file (default: config.yml)."
)


def told(command: Callable[..., Any]) -> Callable[..., Any]:
    """Run a command; an error of ours is told in its own words on standard error, without a traceback."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            code = command(*arguments, **options)
        except GlassrabbitError as error:
            for line in str(error).split("\n"):
                click.echo(f"error: {plain(line)}", err=True)
            code = error.exit_code
        except OSError as error:
            # A pipe whose reader has enough needs no word. Nothing more can be flushed there, either way.
            if not isinstance(error, BrokenPipeError):
                click.echo(f"error: {error}", err=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = ExitCode.FAILED
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            code = ExitCode.INTERRUPTED
        # A group returns nothing, and its command has yet to run.
        if code is not None:
            raise SystemExit(int(code))

    return run
