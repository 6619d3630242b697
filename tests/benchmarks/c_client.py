"""Builds the C contestant, where a compiler and librabbitmq are present."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from protocol.errors import GlassrabbitError

_SOURCES = Path(__file__).with_name("c")


class CannotBuild(GlassrabbitError):
    """No compiler, or no librabbitmq."""


def build(folder: Path) -> dict[str, str]:
    """Paths of ``worker`` and ``requester``, made in ``folder``. Raises ``CannotBuild``."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise CannotBuild("no C compiler is here; on Debian, apt-get install gcc librabbitmq-dev")
    return {name: _build(compiler, name, folder / f"c-{name}") for name in ("worker", "requester")}


def _build(compiler: str, name: str, program: Path) -> str:
    command = [compiler, "-O2", "-w", "-o", str(program), str(_SOURCES / f"{name}.c"), "-lrabbitmq"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBuild(
            f"the C client does not build ({done.stderr.strip().splitlines()[0]}); "
            "on Debian, apt-get install librabbitmq-dev"
        )
    return str(program)
