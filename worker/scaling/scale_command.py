"""``python -m worker scale QUEUE=N…``: the number of containers of a queue, by Docker Compose."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from broker.console.options import config_option, configured, log_format_option, output_option, reports_errors
from protocol.errors import ExitCode
from worker.scaling.up_command import QueueCount

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.scaling.compose import Project


@click.command()
@click.argument("wanted", nargs=-1, required=True, metavar="QUEUE=N...", type=QueueCount())
@config_option
@click.option("--dry-run", is_flag=True, help="Only show the command and what it would change.")
@output_option("text", "json")
@log_format_option
@reports_errors
def scale(wanted: tuple[tuple[str, int], ...], config: str | None, dry_run: bool, output: str) -> ExitCode:
    """Have N containers of Docker Compose for each QUEUE.

    Says how many there were, and how many there are. The service is the one of compose.yaml whose command is
    `worker QUEUE`. Containers that are too many finish what they run within worker.grace_s; all others are left as
    they are.
    """
    import asyncio

    from worker.scaling.compose import project_of

    settings = configured(config)
    counts = dict(wanted)
    settings.require_queues(list(counts))

    async def change() -> ExitCode:
        project = await project_of(settings, list(counts))
        before = await project.containers()
        if not dry_run:
            await project.scale(counts)
        after = before if dry_run else await project.containers()
        is_done = dry_run or all(len(after[queue]) == count for queue, count in counts.items())
        _show(project, counts, _numbers(before), _numbers(after), is_dry=dry_run, output=output)
        return ExitCode.OK if is_done else ExitCode.FAILED

    return asyncio.run(change())


def _numbers(containers: Mapping[str, list[str]]) -> dict[str, int]:
    return {queue: len(ids) for queue, ids in containers.items()}


def _show(
    project: Project,
    wanted: Mapping[str, int],
    before: Mapping[str, int],
    after: Mapping[str, int],
    *,
    is_dry: bool,
    output: str,
) -> None:
    command = ["docker", *project.words(wanted)]
    if output == "json":
        queues = {
            queue: {
                "service": project.services[queue].name,
                "before": before[queue],
                "wanted": count,
                "after": after[queue],
            }
            for queue, count in wanted.items()
        }
        click.echo(json.dumps({"command": command, "dry_run": is_dry, "queues": queues}))
        return
    if is_dry:
        click.echo(" ".join(command))
    for queue, count in wanted.items():
        name = project.services[queue].name
        click.echo(f"{queue} {before[queue]}→{count if is_dry else after[queue]}: service {name}")
        if not is_dry and after[queue] != count:
            click.echo(f"{queue}: {count} were wanted. See why: docker compose logs {name}", err=True)
