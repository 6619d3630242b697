"""The environment of the systems that we are compared with: made once, inside .venv, and apart from ours."""

from __future__ import annotations

import subprocess
import sys
import venv

from tests.support.workers import ROOT

#: Inside .venv, so that nothing else is touched.
PEERS = ROOT / ".venv" / "peers"
#: What is installed there.
REQUIREMENTS = (
    "celery~=5.7.0",
    "dramatiq[rabbitmq]~=2.2.0",
    "aio-pika~=10.2.0",
    "faststream[rabbit]~=0.7.0",
    "taskiq~=0.13.0",
    "taskiq-aio-pika~=0.6.0",
    "msgpack>=1.2.3,<2",
)

#: Its interpreter.
PYTHON = str(PEERS / "bin" / "python")

_MARKER = PEERS / "complete"
_PIP = (PYTHON, "-m", "pip", "--disable-pip-version-check", "--quiet")


def prepare() -> None:
    """Make it, or make it anew if other versions are asked for. Raises ``CalledProcessError`` without a package
    index."""
    asked = "\n".join(REQUIREMENTS)
    if _MARKER.exists() and _MARKER.read_text() == asked:
        return
    print(f"installing {', '.join(REQUIREMENTS)} into .venv/{PEERS.name}", file=sys.stderr)
    venv.create(PEERS, with_pip=True, clear=True)
    subprocess.run([*_PIP, "install", *REQUIREMENTS], check=True)
    _MARKER.write_text(asked)


def versions() -> dict[str, str]:
    """What is installed there: distribution → version."""
    listed = subprocess.run([*_PIP, "freeze"], check=True, capture_output=True, text=True).stdout
    return dict(line.split("==", 1) for line in listed.splitlines() if "==" in line)
