"""What the kernel tells of processes that are not our own children."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from tests.support.waiting import eventually

_PROC = Path("/proc")
_STOP_S = 5.0


def marked(mark: str) -> list[int]:
    """Processes other than this one whose environment has a line ``mark``: those of a campaign, and whatever
    they started."""
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if pid != os.getpid() and mark.encode() in (_PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def children(pid: int) -> list[int]:
    """The processes that run a worker's handlers."""
    found = _children(pid)
    zygotes = [child for child in found if b"zygote_main" in _command(child)]
    return [child for child in found if child not in zygotes] + [
        one for each in zygotes for one in _children(each)
    ]


def _children(pid: int) -> list[int]:
    return [child for child in _pids() if _stat(child)[1:2] == [str(pid)]]


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / "cmdline").read_bytes()
    return b""


def descriptors(pid: int) -> int:
    """How many it has open; none, if it is gone."""
    with contextlib.suppress(OSError):
        return len(list((_PROC / str(pid) / "fd").iterdir()))
    return 0


def command(pid: int) -> str:
    return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def caught_at_work(pid: int, ledgers: Path) -> bool:
    """Stop a process that runs handlers; whether it is between the start of one and its end. If not it goes on."""
    try:
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: _stat(pid)[:1] not in (["R"], ["S"], ["D"]), f"the stop of {pid}", _STOP_S)
        lines = (ledgers / f"handler-{pid}.jsonl").read_bytes().splitlines()
        if lines[-1].startswith(b'{"what": "Started"'):
            return True
        os.kill(pid, signal.SIGCONT)
    except (ProcessLookupError, FileNotFoundError):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    return False


def _pids() -> list[int]:
    return sorted(int(folder.name) for folder in _PROC.iterdir() if folder.name.isdigit())


def _stat(pid: int) -> list[str]:
    """State, parent, … of a process; nothing of one that is gone."""
    try:
        # The name, in parentheses, may hold anything; what follows it is plain.
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
