"""Whether a process that is not our child still runs."""

from __future__ import annotations

import os
from pathlib import Path


def is_running(pid: int) -> bool:
    """False also for one that has ended and that nobody has waited for yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path("/proc", str(pid), "stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return not Path("/proc/self").exists()
