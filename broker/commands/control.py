"""``python -m broker pause`` and ``resume``: options and words. What they do is in ``broker.control.actions``.

Imports of weight wait until a command runs, so that ``--help`` stays quick.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import click

from broker.console.options import (
    FORMATS,
    config_option,
    configured,
    names_of,
    output_option,
    reports_errors,
    timeout_option,
    together,
)

if TYPE_CHECKING:
    from broker.config.settings import Settings
    from broker.control.actions import Operator

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
    if not now.workers:
        kept = f"it holds for {settings.control.retention_s:,} s, unless one starts before"
        click.echo(f"note: no worker is there to write it again: {kept}.", err=True)


@click.command()
@_queue
@_operator
@reports_errors
def resume(queue: str, config: str | None, timeout_s: float, output: str) -> None:
    """Have workers take tasks of QUEUE again.

    Exit codes: 0 ok, 4 no control stream, 69 broker unavailable or access refused, 75 not done in time,
    78 configuration, 2 usage.
    """
    from broker.console.tables import print_maps
    from broker.control.actions import HEAD

    now = _run(_settings(config, queue), timeout_s, "resume", lambda operator: operator.resume(queue))
    print_maps(HEAD, now.rows, output)


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
