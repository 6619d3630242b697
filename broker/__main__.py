"""``python -m broker``: the topology, and a private node to try it on."""

from __future__ import annotations

import click

from broker.commands.config import config as config_group
from broker.commands.control import drain, log_level, pause, resume
from broker.commands.dead_letters import dead
from broker.commands.doctor import doctor
from broker.commands.node import down, up
from broker.commands.queues import move, peek, purge
from broker.commands.running import cancel, running
from broker.commands.status import status
from broker.commands.watch import watch
from broker.commands.wire import wire
from broker.console.escaping import plain
from broker.console.options import (
    config_option,
    configured,
    enter,
    log_format_option,
    output_option,
    reports_errors,
    timeout_option,
    version_option,
)
from protocol.errors import ExitCode


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@version_option
@log_format_option
def main() -> None:
    """Make, see and compare the topology; see and replay dead letters; run a private RabbitMQ.

    Exit codes: 0 ok, 1 a check did not pass, 69 broker unavailable, 75 not done in time or unknown,
    78 configuration, 2 usage.
    """


@main.command()
@config_option
@click.option("--dry-run", is_flag=True, help="Only say what would be made.")
@click.option("--prune", is_flag=True, help="First unbind what the configuration does not name (management API).")
@click.option("--mailbox", "mailboxes", multiple=True, metavar="NAME", help="Make this mailbox, too.")
@click.option("--wait", "waits", is_flag=True, help="Wait for a broker that does not run yet.")
@timeout_option(30.0)
@reports_errors
def declare(
    config: str | None, dry_run: bool, prune: bool, mailboxes: tuple[str, ...], waits: bool, timeout_s: float
) -> None:
    """Make the topology of the configuration. What is there and the same stays as it is.

    A broker that is starting is tried again until the time is over; with --wait one that cannot be reached, too.
    """
    import asyncio

    from broker.topology.apply import declare_all, differences, with_mailboxes
    from broker.topology.model import topology_of
    from protocol.names import is_mailbox_name

    for name in mailboxes:
        if not is_mailbox_name(name):
            raise click.BadParameter(
                f"{name!r}: use a-z, 0-9, _ and -, at most 64 characters.", param_hint="--mailbox"
            )
    settings = configured(config)
    topology = with_mailboxes(topology_of(settings), mailboxes)
    if dry_run:
        lines, note = asyncio.run(differences(settings, topology, timeout_s, waits=waits))
        _print(lines, note, "nothing to do")
        return
    for line in asyncio.run(declare_all(settings, topology, prune=prune, timeout_s=timeout_s, waits=waits)):
        if prune:
            click.echo(f"unbound {plain(line)}")
        else:
            cure = "what is sent goes there, too. Unbind it with --prune"
            click.echo(f"note: the configuration has no binding {plain(line)}: {cure}.", err=True)
    click.echo(
        f"declared {len(topology.exchanges)} exchanges, {len(topology.queues)} queues, "
        f"{len(topology.bindings)} bindings"
    )


@main.command()
@config_option
@output_option("table", "mermaid", "json")
@reports_errors
def show(config: str | None, output: str) -> None:
    """Show the topology of the configuration. Asks no broker."""
    from broker.topology import show as shown
    from broker.topology.model import topology_of

    topology = topology_of(configured(config))
    if output == "json":
        click.echo(shown.to_json(topology))
    elif output == "mermaid":
        click.echo(shown.to_mermaid(topology))
    else:
        from broker.console.tables import print_table

        print_table(["kind", "name", "arguments or routing key", "what for"], shown.rows(topology))


@main.command()
@config_option
@timeout_option()
@reports_errors
def diff(config: str | None, timeout_s: float) -> ExitCode:
    """Compare the broker with the configuration, argument by argument. Exits with 1 if they differ."""
    import asyncio

    from broker.topology.apply import differences
    from broker.topology.model import topology_of

    settings = configured(config)
    lines, note = asyncio.run(differences(settings, topology_of(settings), timeout_s))
    _print(lines, note, "no differences")
    return ExitCode.FAILED if lines else ExitCode.OK


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes `glassrabbit`, and `python -m broker`, `worker` and `dispatcher`, in SHELL.

    Commands, options, and the names of queues, tasks and mailboxes in the configuration. For bash:
    source <(python -m broker completion bash)
    """
    from broker.commands.completion_scripts import SCRIPTS

    click.echo(SCRIPTS[shell], nl=False)


def _print(lines: list[str], note: str | None, none: str) -> None:
    if note:
        click.echo(f"note: {note}", err=True)
    for line in lines or [none]:
        click.echo(plain(line))


main.add_command(status)
main.add_command(doctor)
main.add_command(config_group)
main.add_command(dead)
main.add_command(up)
main.add_command(down)
main.add_command(wire)
main.add_command(pause)
main.add_command(resume)
main.add_command(running)
main.add_command(cancel)
main.add_command(drain)
main.add_command(log_level)
main.add_command(peek)
main.add_command(purge)
main.add_command(move)
main.add_command(watch)

if __name__ == "__main__":
    enter(main, prog_name="python -m broker")
