"""``python -m broker peek``, ``purge`` and ``move``: options and words. What they do is in ``broker.waiting``.

Imports of weight wait until a command runs, so that ``--help`` stays quick.
"""

from __future__ import annotations

import re
import sys
from functools import partial

import click

from broker.commands.dead_letters import dry_run_option, id_option, limit_option, run, task_option, window_option
from broker.console.options import (
    FORMATS,
    Time,
    Whole,
    config_option,
    configured,
    names_of,
    output_option,
    reports_errors,
    timeout_option,
    together,
)
from protocol.errors import ExitCode

_queue = click.argument("queue", shell_complete=names_of("queues"))
_asking = together(output_option(*FORMATS), timeout_option(), config_option)
#: As queues of tasks are called: all others of ours have a dot.
_WORK = re.compile(r"[^.]+")


@click.command()
@_queue
@click.option("-n", "most", type=Whole(1, 10_000), default=10, show_default=True, help="At most N messages.")
@_asking
@reports_errors
def peek(queue: str, most: int, config: str | None, timeout_s: float, output: str) -> None:
    """Show what waits first in QUEUE, without running it, and give it back within a second.

    A batch is shown as its tasks. What a look costs on this broker is said first: before RabbitMQ 4.3 it counts as
    a return. So a look ends with a message that was returned often, and a queue is not looked at where ten looks
    would make a task a suspect.

    Exit codes: 0 ok, 1 a look could do harm, 4 no such queue, 69 broker unavailable or access refused, 75 not done
    in time, or a queue without a leader, 78 configuration, 2 usage.
    """
    from broker.amqp.once import connected
    from broker.console.tables import print_maps
    from broker.topology.model import topology_of
    from broker.waiting.look import look
    from broker.waiting.text import HEAD, as_cells, rows_of

    settings = configured(config)
    limits = {one.name: one.arguments.get("x-delivery-limit") for one in topology_of(settings).queues}
    limit = limits.get(queue)

    def say(text: str) -> None:
        click.echo(f"note: {text}", err=True)

    work = partial(look, queue=queue, most=most, delivery_limit=limit if isinstance(limit, int) else None, say=say)
    seen = run(connected(settings, "broker peek", work, timeout_s=timeout_s))
    numbered = enumerate(seen.letters, 1)
    rows = [row for number, one in numbered for row in rows_of(number, one, settings.limits.messages)]
    if output in ("table", "plain"):
        rows = [as_cells(row, output) for row in rows]
    if rows or output == "json":
        print_maps(HEAD, rows, output)
    if seen.unseen:
        click.echo(seen.unseen, err=True)


@click.command()
@_queue
@click.option("--yes", is_flag=True, help="Do not ask.")
@_asking
@reports_errors
def purge(queue: str, yes: bool, config: str | None, timeout_s: float, output: str) -> ExitCode:
    """Remove all that waits in QUEUE for good. Asks first; where nobody can be asked it needs --yes.

    What a worker holds (unacked) does not wait: it runs to its end, or comes back. No caller gets a reply of what
    was removed: each waits until its time-out. `cancel` has them answered.

    Exit codes: 0 ok, 1 nothing was removed, 4 no such queue, 69 broker unavailable or access refused, 75 not done
    in time, how many is unknown, or a queue without a leader, 78 configuration, 2 usage.
    """
    from broker.amqp.once import connected
    from broker.dead_letters.actions import print_counts
    from broker.waiting.purge import Purge

    if not (yes or sys.stdin.isatty()):
        raise click.UsageError("standard input is no terminal, so nobody can be asked: give --yes.")
    settings, asked = configured(config), Purge(queue)
    once = partial(connected, settings, "broker purge", timeout_s=timeout_s)
    ready, consumers = run(once(asked.count))
    if ready and not yes and not click.confirm(f"Remove {ready} messages of {queue} for good?", err=True):
        click.echo("nothing was removed", err=True)
        return ExitCode.FAILED
    try:
        run(once(asked.run))
    finally:
        if asked.sent:
            print_counts({queue: asked.purged}, output, "purged")
    if consumers:
        click.echo(f"note: {queue} has consumers ({consumers}): what they hold unacked was not removed.", err=True)
    return ExitCode.OK


@click.command()
@click.argument("source", metavar="FROM", shell_complete=names_of("queues"))
@click.argument("target", metavar="TO", shell_complete=names_of("queues"))
@task_option
@id_option
@click.option(
    "--before",
    type=Time(),
    metavar="TIME",
    help="Only what was sent before 15m, 2h, 3d ago, or 2026-11-24T10:30 (UTC).",
)
@limit_option
@dry_run_option
@window_option
@_asking
@reports_errors
def move(
    source: str,
    target: str,
    tasks: tuple[str, ...],
    ids: tuple[str, ...],
    before: int | None,
    limit: int | None,
    dry_run: bool,
    window: int,
    config: str | None,
    timeout_s: float,
    output: str,
) -> ExitCode:
    """Move tasks that wait in FROM to TO, in their order: those that the configuration gives to TO.

    Each is removed only after the broker has accepted it in TO. Attempts, history and reply address stay. All
    others go back, which RabbitMQ counts as a return before 4.3. What a worker holds (unacked) does not wait.

    Exit codes: 0 ok, 1 messages that were meant stay, 4 no such queue, 69 broker unavailable or access refused,
    75 no confirm, not done in time, or a queue without a leader, 78 configuration, or workers of TO would answer
    `wrong_queue`, 2 usage.
    """
    from broker.amqp.once import connected
    from broker.dead_letters.actions import transfer_letters
    from broker.dead_letters.filter import Chosen, Filter
    from broker.dead_letters.transfer import Transfer
    from broker.waiting.move import moved, require_target

    if not (_WORK.fullmatch(source) and source != target):
        raise click.UsageError("FROM and TO are two queues of tasks. For dead letters there is `dead replay`.")
    settings = configured(config)
    require_target(settings, target, tasks)
    wanted = Filter(tasks=tasks, ids=ids, before_ms=before or 0)
    asked = Transfer(
        chosen=Chosen(filter=wanted, limit=limit, limits=settings.limits.messages),
        again=lambda letter, _now_ms: moved(letter, settings, target),
        exchange="",
        routing_key=target,
        dry_run=dry_run,
        window=window,
        confirm_timeout_s=settings.broker.confirm_timeout_s,
    )
    once = partial(connected, settings, "broker move", timeout_s=timeout_s)
    return run(transfer_letters(once, [source], asked, output, lambda: [target]))
