#!/usr/bin/env bash
# rich 15.0.0: while a Progress is shown on a Console of standard error, and standard error is a terminal, what the
# program prints on standard output goes to that terminal as well, also if standard output is a pipe: the reader of
# the pipe gets nothing. Without a terminal it gets everything, so no test without a pseudo-terminal sees it.
# Cause: Progress(redirect_stdout=True) is the default, and it looks only at its own console.
# Seen on 2026-11-30 with Python 3.11.7: 'pipe: 3 lines, terminal: 0 lines'. Cure: redirect_stdout=False.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check rich==15.0.0
cat >"$folder/prints.py" <<'PYTHON'
from rich.console import Console
from rich.progress import Progress

with Progress(console=Console(stderr=True), transient=True) as progress:
    task = progress.add_task("lines", total=3)
    for number in range(3):
        print(number)
        progress.advance(task)
PYTHON
cat >"$folder/looks.py" <<'PYTHON'
import os
import pty
import subprocess
import sys


def lines(stderr):
    command = [sys.executable, sys.argv[1]]
    return len(subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, check=True).stdout.split())


_, terminal = pty.openpty()
print(f"pipe: {lines(subprocess.DEVNULL)} lines, terminal: {lines(terminal)} lines")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/looks.py" "$folder/prints.py")
echo "$seen"
[ "$seen" = 'pipe: 3 lines, terminal: 0 lines' ] || { echo 'it behaves differently now' >&2; exit 1; }
