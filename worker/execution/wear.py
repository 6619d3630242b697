"""When a child has run enough, and another one takes its place."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Wear:
    """``worker.max_tasks_per_child`` and ``max_memory_per_child_mb``; None: no bound."""

    max_tasks: int | None
    max_mb: int | None
    tasks: int = 0

    def is_over(self) -> bool:
        """Whether that was its last task. To be asked after each of them."""
        self.tasks += 1
        return self.tasks == self.max_tasks or (self.max_mb is not None and resident_bytes() > self.max_mb << 20)


def resident_bytes() -> int:
    """The memory of this process; where the kernel says no more, the most that it ever had (macOS)."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
