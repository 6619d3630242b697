"""``python -m broker running`` and ``cancel``: options and words. What they do is in ``broker.control.actions``.

Imports of weight wait until a command runs, so that ``--help`` stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from broker.commands.control import as_operator, operator_options, steered_settings
from broker.console.options import Seconds, Time, names_of, reports_errors
from protocol.errors import ExitCode

if TYPE_CHECKING:
    from broker.control.actions import Operator


@click.command()
@click.option("--queue", metavar="QUEUE", shell_complete=names_of("queues"), help="Only tasks of this queue.")
@click.option("--task", metavar="NAME", shell_complete=names_of("tasks"), help="Only tasks of this name.")
@click.option("--older-than", "older_s", type=Seconds(), metavar="S", help="Only what has run for S seconds.")
@operator_options
@reports_errors
def running(
    queue: str | None, task: str | None, older_s: float | None, config: str | None, timeout_s: float, output: str
) -> ExitCode:
    """Show what runs now on which worker, the slowest first.

    Each worker has 0.5 s to answer; which one did not is said on standard error.

    Exit codes: 0 ok, 4 no control stream, 69 broker unavailable or access refused, 75 a worker did not answer, or
    not done in time, 78 configuration, 2 usage.
    """
    from broker.console.tables import print_maps
    from broker.control.actions import RUNNING, rows_of
    from broker.control.stream import now_ms

    answers, unknown = as_operator(
        steered_settings(config), timeout_s, "running", lambda operator: operator.running()
    )
    print_maps(
        RUNNING,
        [
            row
            for row in rows_of(answers, now_ms())
            if queue in (None, row["queue"])
            and task in (None, row["task"])
            and float(str(row["ran_s"])) >= (older_s or 0)
        ],
        output,
    )
    for answer in answers:
        if answer.more:
            click.echo(f"note: {answer.worker} runs {answer.more} more.", err=True)
    for text in unknown:
        click.echo(f"note: {text}.", err=True)
    return ExitCode.TIMED_OUT if unknown else ExitCode.OK


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--task", metavar="NAME", shell_complete=names_of("tasks"), help="Every task of this name.")
@click.option(
    "--before",
    type=Time(),
    metavar="TIME",
    help="With --task: sent before 15m, 2h, 3d ago, or 2026-11-24T10:30 (UTC).",
)
@click.option(
    "--for",
    "for_s",
    type=Seconds(),
    metavar="S",
    default=7 * 86400.0,
    show_default=True,
    help="Hold it for S seconds.",
)
@click.option("--wait", "waits", is_flag=True, help="Show what became of each ID, within --timeout.")
@operator_options
@reports_errors
def cancel(
    ids: tuple[str, ...],
    task: str | None,
    before: int | None,
    for_s: float,
    waits: bool,
    config: str | None,
    timeout_s: float,
    output: str,
) -> ExitCode:
    """Have tasks end as `cancelled`: one that waits when it is delivered, also after a delay; one that runs is
    stopped.

    In a child process it gets SIGTERM, and after worker.cancel_grace_s SIGKILL; a coroutine is cancelled at its
    next await; a thread cannot be stopped, and finds `current().is_cancelled`. Its caller gets
    `cancelled`; no dead letter is written. A task that is done first is done. One that is replayed later runs.

    Exit codes: 0 ok, 4 no control stream, 69 broker unavailable or access refused, 75 not done in time, or a task
    has not ended by then, 78 configuration, 1 refused, 2 usage.
    """
    from broker.console.tables import print_maps
    from broker.control.actions import CANCELLED, ENDS, OPEN
    from broker.control.stream import now_ms
    from protocol.names import is_id

    if bool(ids) is (task is not None) or (before is not None and task is None):
        raise click.UsageError("name tasks by their ids, or give --task NAME, perhaps with --before TIME.")
    if waits and not ids:
        raise click.UsageError("--wait is for tasks that are named by their ids.")
    if wrong := [one for one in ids if not is_id(one)]:
        raise click.BadParameter(f"{wrong[0]!r} is no id: it has 32 digits from 0 to f.", param_hint="ID")
    settings = steered_settings(config)
    if task is not None and task not in settings.tasks:
        raise click.BadParameter(f"{task!r} is none of {', '.join(settings.tasks)}.", param_hint="--task")
    latest_ms = 0 if task is None else now_ms() if before is None else before
    chosen = tuple(dict.fromkeys(ids))

    async def work(operator: Operator) -> list[dict[str, object]]:
        rows = await operator.cancel(chosen, task or "", latest_ms, for_s)
        return await operator.ends_of(chosen) if waits else rows

    rows = as_operator(settings, timeout_s, "cancel", work)
    print_maps(ENDS if waits else CANCELLED, rows, output)
    return ExitCode.TIMED_OUT if any(row.get("end") in OPEN for row in rows) else ExitCode.OK
