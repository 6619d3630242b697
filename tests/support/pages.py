"""Documentation that is executed: the blocks of a page, and what their commands print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.workers import ROOT

_WITHIN_S = 60
#: Programs that the commands of our pages use and a bare machine lacks; then those of this environment.
PATH = f"{Path(__file__).parent / 'bin'}:{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"


def section(page: str, heading: str) -> str:
    """What stands under a heading of the second level."""
    (found,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


def block_with(text: str, language: str, what: str) -> str:
    """The one block of a language that has ``what`` in it."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (block,) = [block for block in found if what in block]
    return str(block)


def unsaid(block: str) -> list[str]:
    """Run the commands of a block in one shell; the lines that it shows and that they did not print."""
    lines = block.splitlines()
    commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    done = subprocess.run(
        ["bash", "-c", "\n".join(["set -euo pipefail", *commands])],
        cwd=ROOT,
        env={**os.environ, "PATH": PATH},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_WITHIN_S,
    )
    assert done.returncode == 0, done.stdout
    printed = done.stdout.splitlines()
    return [line for line in lines if not line.startswith("$ ") and line not in printed]
