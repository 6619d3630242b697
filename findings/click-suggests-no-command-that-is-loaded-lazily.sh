#!/usr/bin/env bash
# click 8.5.1: since 8.4 a mistyped command is answered with "Did you mean ...?". The names come from `self.commands`
# of the group, not from list_commands(): a group that loads its commands when they are called, as click's own page on
# lazy loading writes it, and a CommandCollection list them in --help and suggest none. Hidden commands, which --help
# does not show, are suggested. The error is the same to a test that only looks for "No such command".
# Seen on 2026-11-30 with Python 3.11.7. Cure: in resolve_command, raise NoSuchCommand with names of list_commands().
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check click==8.5.1
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import click
from click.testing import CliRunner


@click.command()
def deploy():
    pass


class Lazy(click.Group):
    def list_commands(self, ctx):
        return ["deploy"]

    def get_command(self, ctx, name):
        return deploy if name == "deploy" else None


def suggests(group):
    shown = "deploy" in CliRunner().invoke(group, ["--help"]).output
    said = CliRunner().invoke(group, ["deplyo"]).output
    return f"{'shown' if shown else 'not shown'} and {'suggested' if 'deploy' in said else 'not suggested'}"


eager = click.Group("eager", {"deploy": deploy})
collection = click.CommandCollection("collection", sources=[eager])
hidden = click.Group("hidden", {"deploy": click.Command("deploy", hidden=True)})
for name, group in ("eager", eager), ("lazy", Lazy("lazy")), ("collection", collection), ("hidden", hidden):
    print(f"{name}: {suggests(group)}")
PYTHON
)
echo "$seen"
[ "$seen" = 'eager: shown and suggested
lazy: shown and not suggested
collection: shown and not suggested
hidden: not shown and suggested' ] || { echo 'it behaves differently now' >&2; exit 1; }
