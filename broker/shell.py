"""What the three command lines share: options, and the seam where an error becomes an exit code."""

from __future__ import annotations

import functools
import os
import sys
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
        except BrokenPipeError:
            # Whoever read our output has enough; there is nobody to tell, and nothing more to flush to.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = ExitCode.FAILED
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            code = ExitCode.INTERRUPTED
        # A group returns nothing, and its command has yet to run.
        if code is not None:
            raise SystemExit(int(code))

    return run
