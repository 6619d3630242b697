"""``python -m broker watch``: its options. What it does is in ``broker.watch``."""

from __future__ import annotations

import click

from broker.commands.control import steered_settings
from broker.console.options import Whole, config_option, names_of, output_option, reports_errors, timeout_option
from protocol.errors import ExitCode


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--task", metavar="NAME", shell_complete=names_of("tasks"), help="Tasks of this name that come.")
@click.option(
    "--next",
    "count",
    type=Whole(1, 1000),
    is_flag=False,
    flag_value=1,
    metavar="[N]",
    help="The next N that come [1].",
)
@click.option("--tap", "taps", is_flag=True, help="Have a copy of all that is published, too.")
@output_option("plain", "jsonl", "mermaid")
@timeout_option(60.0, "Watch for S seconds, if it is not over before.")
@config_option
@reports_errors
def watch(
    ids: tuple[str, ...],
    task: str | None,
    count: int | None,
    taps: bool,
    output: str,
    timeout_s: float,
    config: str | None,
) -> ExitCode:
    """Follow messages from step to step: published, delivered, run, answered, acked; retried, or dead.

    Each step says who saw it: the worker, a header of the message, or nobody (unknown). Workers report only while
    somebody watches, and only of what is watched. With --tap what waits is seen as well, in its queue and in the
    delay line; then the broker copies each task that is published into a queue of this command.

    Exit codes: 0 all that came are over, 4 no control stream, 69 broker unavailable or access refused, 75 not over
    in time or none came, 78 configuration, 2 usage.
    """
    import asyncio
    import json

    from broker.amqp.once import connected
    from broker.console.escaping import plain, plain_json
    from broker.console.streams import write
    from broker.watch.asking import Watcher
    from broker.watch.life import Step
    from broker.watch.text import line, to_map, to_mermaid
    from protocol.control import MOST_IDS
    from protocol.names import is_id

    if bool(ids) is (task is not None or count is not None):
        raise click.UsageError("name messages by their ids, or give --task NAME, or --next, or both of these.")
    if len(ids) > MOST_IDS:
        raise click.UsageError(f"at most {MOST_IDS:,} ids at a time.")
    if wrong := [one for one in ids if not is_id(one)]:
        raise click.BadParameter(f"{wrong[0]!r} is no id: it has 32 digits from 0 to f.", param_hint="ID")
    settings = steered_settings(config)
    if task is not None and task not in settings.tasks:
        raise click.BadParameter(f"{task!r} is none of {', '.join(settings.tasks)}.", param_hint="--task")

    steps: list[Step] = []

    async def put(step: Step) -> None:
        if output == "mermaid":
            steps.append(step)
        else:
            await write((line(step) if output == "plain" else plain_json(json.dumps(to_map(step)))) + "\n")

    def say(text: str) -> None:
        click.echo(plain(text), err=True)

    chosen = tuple(dict.fromkeys(ids))
    watcher = Watcher(settings, put, say, ids=chosen, task=task or "", most=count or 0, tap=taps)
    try:
        all_over = asyncio.run(connected(settings, "broker watch", watcher.run, timeout_s=timeout_s))
    finally:
        if steps:
            click.echo(to_mermaid(steps))
    return ExitCode.OK if all_over else ExitCode.TIMED_OUT
