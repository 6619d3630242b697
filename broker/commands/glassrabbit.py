"""``glassrabbit``: the three command lines as one, from any folder (``broker.console.start`` says why)."""

from __future__ import annotations

import click

from broker.console.options import log_format_option, version_option
from broker.console.start import entry

#: The commands that need no ``broker`` or ``dispatcher`` before them. Those of ``worker`` do: ``up`` is in both.
SHORT = {
    "dispatcher": ("call", "map", "submit", "collect", "demo", "load"),
    "broker": (
        "declare",
        "diff",
        "show",
        "status",
        "doctor",
        "dead",
        "config",
        "up",
        "down",
        "wire",
        "pause",
        "resume",
        "running",
        "cancel",
        "drain",
        "log-level",
        "watch",
        "peek",
        "move",
        "purge",
        "completion",
    ),
    "worker": (),
}
_PACKAGE_OF = {name: package for package, names in SHORT.items() for name in (package, *names)}


class Commands(click.Group):
    """Imports the command line that is asked for, and no other."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_PACKAGE_OF)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _PACKAGE_OF:
            return None
        command: click.Command = entry(f"{_PACKAGE_OF[name]}.__main__")
        if name in SHORT:
            return command
        assert isinstance(command, click.Group)
        return command.get_command(ctx, name)


# Empty, for click's "Did you mean …?".
_NAMED = {name: click.Command(name) for name in _PACKAGE_OF}


@click.command(cls=Commands, commands=_NAMED, context_settings={"help_option_names": ["-h", "--help"]})
@log_format_option
@version_option
def main() -> None:
    """Send tasks, do them, and look after the broker.

    `worker`, `dispatcher` and `broker` are what `python -m` runs under these names; the other commands are those
    of dispatcher and broker. Each has a --help of its own.
    """
