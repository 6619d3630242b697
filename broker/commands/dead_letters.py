"""``python -m broker dead …``: options and words only. What they do is in ``broker.dead_letters.actions``.

Imports of weight wait until a command runs, so that ``--help`` stays quick.
"""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from broker.console.options import (
    FORMATS,
    Time,
    Whole,
    config_option,
    names_of,
    output_option,
    reports_errors,
    timeout_option,
    together,
)
from protocol.errors import ExitCode

if TYPE_CHECKING:
    from broker.config.settings import Settings
    from broker.dead_letters.actions import Look
    from broker.dead_letters.filter import Chosen

T = TypeVar("T")


_formats = output_option(*FORMATS)
task_option = click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="NAME",
    shell_complete=names_of("tasks"),
    help="Only this task.",
)
id_option = click.option("--id", "ids", multiple=True, metavar="ID", help="Only the task with this id.")
limit_option = click.option("--limit", type=Whole(min=1), metavar="N", help="At most N messages, oldest first.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Only say what would be done.")
window_option = click.option(
    "--window",
    type=Whole(1, 10_000),
    default=100,
    show_default=True,
    help="Messages in progress: as many may run twice if this command is killed.",
)

#: Which letters: queues, by argument or option, and filters.
_letters = together(
    click.argument("queues", nargs=-1, metavar="[QUEUE]...", shell_complete=names_of("queues")),
    click.option(
        "--queue",
        "more",
        multiple=True,
        metavar="QUEUE",
        shell_complete=names_of("queues"),
        help="The same as the argument QUEUE.",
    ),
    click.option("--reason", "reasons", multiple=True, metavar="CODE", help="Only this reason, like rejected."),
    task_option,
    click.option(
        "--since",
        type=Time(),
        metavar="TIME",
        help="Only what died since: 15m, 2h, 3d ago, or 2026-11-24T10:30 (UTC).",
    ),
    click.option("--error", metavar="TEXT", default="", help="Only letters whose error contains TEXT."),
    id_option,
    limit_option,
    timeout_option(),
    config_option,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def dead() -> None:
    """See the dead letters, and put them back to work.

    QUEUE is a work queue (queue_a: its letters are in queue_a.dead) or tasks.lost; without one, list, show and
    export look at all of the configuration. An option that is given several times is passed by any of its
    values. Looking changes neither the order nor the number of letters; the broker's delivery counters rise.

    Exit codes: 0 ok, 1 letters were left that cannot be replayed, 4 no queue is bound for a task, or no such queue
    of letters, 69 broker unavailable or access refused, 75 no confirm, not done in time, or a queue without a
    leader, 78 configuration, 2 usage.
    """


@dead.command("list")
@_letters
@_formats
@reports_errors
def list_(output: str, **which: Any) -> None:
    """Print one line for each letter, oldest first."""
    from broker.dead_letters.actions import list_letters

    _, look, queues, chosen = _which(**which)
    run(list_letters(look, queues, chosen, output))


@dead.command()
@_letters
@_formats
@reports_errors
def show(output: str, **which: Any) -> None:
    """Print letters with their history and decoded arguments, at most 10 unless --limit says otherwise."""
    from broker.dead_letters.actions import show_letters

    _, look, queues, chosen = _which(**{**which, "limit": which["limit"] or 10})
    run(show_letters(look, queues, chosen, output))


@dead.command()
@_letters
@output_option("jsonl", "json")
@reports_errors
def export(output: str, **which: Any) -> None:
    """Print letters whole: every property and header, and the bytes of the body as base64."""
    from broker.dead_letters.actions import export_letters

    _, look, queues, chosen = _which(**which)
    run(export_letters(look, queues, chosen, output))


@dead.command()
@_letters
@dry_run_option
@click.option(
    "--edit", "pairs", multiple=True, metavar="KEY=VALUE", help="Change or add an argument; JSON if it is JSON."
)
@click.option("--edit-json", "text", metavar="OBJECT", help="These arguments instead of the letter's.")
@window_option
@_formats
@reports_errors
def replay(
    dry_run: bool, pairs: tuple[str, ...], text: str | None, window: int, output: str, **which: Any
) -> ExitCode:
    """Put letters of QUEUE back to work: attempts start at 1; id, arguments, mailbox and history stay.

    Each letter is removed only after the broker has accepted its task. Letters that cannot be replayed stay.
    """
    from broker.dead_letters.actions import transfer_letters
    from broker.dead_letters.replay import replayed
    from broker.dead_letters.transfer import Transfer
    from broker.topology.apply import bound_tasks

    settings, look, queues, chosen = _which(**which, must_name=True)
    edit, limits = _edit(pairs, text, settings), settings.limits.messages
    asked = Transfer(
        chosen=chosen,
        again=lambda letter, now_ms: replayed(letter, limits, now_ms, edit),
        dry_run=dry_run,
        window=window,
        confirm_timeout_s=settings.broker.confirm_timeout_s,
    )
    return run(transfer_letters(look, queues, asked, output, partial(bound_tasks, settings)))


@dead.command()
@_letters
@dry_run_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@_formats
@reports_errors
def purge(dry_run: bool, yes: bool, output: str, **which: Any) -> ExitCode:
    """Remove letters of QUEUE for good. Asks first; where nobody can be asked it needs --yes."""
    from broker.dead_letters.actions import count_letters, print_counts, purge_letters

    if not (yes or dry_run or sys.stdin.isatty()):
        raise click.UsageError("standard input is no terminal, so nobody can be asked: give --yes, or --dry-run.")
    _, look, queues, chosen = _which(**which, must_name=True)
    counts = run(count_letters(look, queues, chosen))
    if dry_run:
        print_counts(counts, output, "to be purged")
        return ExitCode.OK
    total = sum(counts.values())
    where = ", ".join(queue for queue, count in counts.items() if count)
    if total and not yes and not click.confirm(f"Remove {total} letters of {where} for good?", err=True):
        click.echo("nothing was removed", err=True)
        return ExitCode.FAILED
    # What died since the question was asked is not part of the answer: never more than were counted.
    print_counts(run(purge_letters(look, counts, chosen)), output, "purged")
    return ExitCode.OK


def _which(
    *,
    config: str | None,
    queues: tuple[str, ...],
    more: tuple[str, ...],
    reasons: tuple[str, ...],
    tasks: tuple[str, ...],
    ids: tuple[str, ...],
    since: int | None,
    error: str,
    limit: int | None,
    timeout_s: float,
    must_name: bool = False,
) -> tuple[Settings, Look, list[str], Chosen]:
    from broker.amqp.once import connected
    from broker.config.loader import load
    from broker.dead_letters.filter import Chosen, Filter
    from broker.dead_letters.queue import dead_queues

    names = (*queues, *more)
    if must_name and not names:
        raise click.UsageError("name the queues whose letters are meant, like queue_a.")
    settings = load(config)
    wanted = Filter(reasons=reasons, tasks=tasks, ids=ids, error=error, since_ms=since or 0)
    chosen = Chosen(filter=wanted, limit=limit, limits=settings.limits.messages)
    look = partial(connected, settings, "broker dead", timeout_s=timeout_s)
    return settings, look, dead_queues(settings, names), chosen


def _edit(pairs: tuple[str, ...], text: str | None, settings: Settings) -> Any:
    from broker.dead_letters.replay import edit_of

    try:
        return edit_of(pairs, text, settings.limits.messages)
    except ValueError as problem:
        raise click.UsageError(f"arguments: {problem}") from problem


def run(command: Coroutine[Any, Any, T]) -> T:
    import asyncio

    from broker.console.logs import configure

    configure()
    return asyncio.run(command)
