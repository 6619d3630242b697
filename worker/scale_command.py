"""``python -m worker scale QUEUE=N…``: asks Docker Compose, and shows before and after."""

from __future__ import annotations

import json
import shlex
import subprocess

import click

from broker.shell import config_option, told
from protocol.errors import ExitCode, GlassrabbitError
from worker.up_command import QueueCount, check_queues


class ComposeError(GlassrabbitError):
    """Docker Compose could not be asked, or did not do what it was told."""

    exit_code = ExitCode.UNAVAILABLE


@click.command()
@click.argument("wanted", nargs=-1, required=True, metavar="QUEUE=N...", type=QueueCount())
@config_option
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@told
def scale(wanted: tuple[tuple[str, int], ...], config: str | None, dry_run: bool) -> ExitCode:
    """Have N containers of the service that works on QUEUE, by Docker Compose in the current folder.

    Those that run stay as they are (--no-recreate). Those that are too many finish what they run, as
    stop_grace_period in compose.yaml allows.
    """
    from broker.config import load
    from broker.tables import print_table
    from worker.scale import COMPOSE, command, running, service_of

    settings = load(config)
    check_queues(settings, [queue for queue, _ in wanted])
    project = json.loads(_said(*COMPOSE, "config", "--format", "json"))
    services = {service_of(project, queue): (queue, count) for queue, count in wanted}
    words = command({service: count for service, (_, count) in services.items()})
    listing = (*COMPOSE, "ps", "--format", "json")
    before = running(_said(*listing))
    if dry_run:
        click.echo(shlex.join(words))
        after = {service: count for service, (_, count) in services.items()}
    else:
        _said(*words)
        after = dict(running(_said(*listing)))
    print_table(
        ["queue", "service", "before", "would be" if dry_run else "after"],
        [(queue, name, before[name], after.get(name, 0)) for name, (queue, _) in services.items()],
    )
    missed = [name for name, (_, count) in services.items() if after.get(name, 0) != count]
    if missed:
        click.echo(f"{', '.join(missed)}: not as many as asked for; see `docker compose ps --all`", err=True)
    return ExitCode.FAILED if missed else ExitCode.OK


def _said(*words: str) -> str:
    """What a command prints. Raises ``ComposeError`` with what it says is wrong."""
    shown = shlex.join(words[:3])
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise ComposeError("no docker is on this machine. Install it, or use `python -m worker up`.") from None
    except subprocess.CalledProcessError as error:
        raise ComposeError(f"`{shown}` failed; correct what it says: {error.stderr.strip()}") from None
    return str(done.stdout)
