"""What a test may need of the machine that not every machine has. Named at the end of the run where it lacks."""

from __future__ import annotations

import functools
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from broker.node.files import find_server
from tests.support.brokers import engine_answers

ROOT = Path(__file__).parents[2]
#: The last commit of the release before this one, which today's is held against.
YESTERDAY = "4c3585c0ddc56b7527679a32659636980e162eab"


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def _has_history() -> bool:
    """Whether this is a checkout with the release before in it: neither an archive nor a shallow clone."""
    if shutil.which("git") is None:
        return False
    command = ["git", "rev-parse", "--verify", "--quiet", f"{YESTERDAY}^{{commit}}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0


def _on_path(program: str) -> Callable[[], bool]:
    return lambda: shutil.which(program) is not None


def _may_unshare() -> bool:
    """Whether a process can be had that is process 1 of its own."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


#: Name of a need, as in ``@pytest.mark.needs("promtool")`` → whether it is met.
_HERE: Mapping[str, Callable[[], bool]] = {
    "engine": engine_answers,
    "promtool": _on_path("promtool"),
    "IPv6": _has_ipv6,
    "git history": _has_history,
    "rabbitmq-server": lambda: find_server() is not None,
    "/proc": Path("/proc/self/environ").exists,
    "unshare": _may_unshare,
    **{f"python3.{minor}": _on_path(f"python3.{minor}") for minor in range(11, 15)},
}
#: What to do where it is not.
REMEDY: Mapping[str, str] = {
    "engine": "start a Docker engine",
    "promtool": "apt-get install prometheus",
    "IPv6": "give loopback the address ::1",
    "git history": "git clone, or git fetch --unshallow",
    "rabbitmq-server": "python -m broker.node.provision --need server",
    "/proc": "run on Linux",
    "unshare": "run as root on Linux",
}
#: Fixtures that stand for a need.
OF_FIXTURE: Mapping[str, str] = {"promtool": "promtool", "server": "rabbitmq-server"}


@functools.cache
def lacks(need: str) -> bool:
    """Whether this machine has it not. Raises KeyError for a need that nobody described."""
    return not _HERE[need]()
