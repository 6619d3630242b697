"""What the three command lines share: options, and the seam where an error becomes an exit code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from protocol.errors import ExitCode, GlassrabbitError

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
            for line in str(error).splitlines():
                click.echo(f"error: {line}", err=True)
            code = error.exit_code
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            code = ExitCode.INTERRUPTED
        raise SystemExit(ExitCode.OK if code is None else int(code))

    return run
