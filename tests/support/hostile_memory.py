"""How much memory a process takes, told by the kernel: now, and at most since the last reset (Linux)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 1 << 20


def resident(pid: int) -> int:
    """Bytes that it has now."""
    return _read(pid, "VmRSS")


def family(pid: int) -> list[int]:
    """A process and everything that it has started."""
    found = [pid]
    for one in found:
        children = Path("/proc", str(one), "task", str(one), "children").read_text()
        found += [int(child) for child in children.split()]
    return found


class Growth:
    """Bytes that some processes had at most above what they had before, filled in at the end of the block."""

    bytes = 0


@contextmanager
def growth(*pids: int) -> Iterator[Growth]:
    """``with growth(pid) as grown``: then ``grown.bytes``."""
    before = {}
    for pid in pids:
        # Makes the peak of the process what it has now: see proc(5).
        Path("/proc", str(pid), "clear_refs").write_text("5")
        before[pid] = resident(pid)
    grown = Growth()
    yield grown
    grown.bytes = sum(max(0, _read(pid, "VmHWM") - had) for pid, had in before.items())


def _read(pid: int, key: str) -> int:
    match = re.search(rf"^{key}:\s+(\d+) kB$", Path("/proc", str(pid), "status").read_text(), re.MULTILINE)
    assert match is not None, f"process {pid} has no {key}"
    return int(match[1]) * 1024
