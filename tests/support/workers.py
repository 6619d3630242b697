"""A worker of this checkout as a process of its own, and its log."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from glassrabbit_testing import worker_process

ends = worker_process.ends

ROOT = Path(__file__).parents[2]


class WorkerProcess(worker_process.WorkerProcess):
    """``python -m worker QUEUE…``."""

    def __init__(
        self,
        queues: Sequence[str],
        environment: Mapping[str, str],
        stdout: int | IO[str] = subprocess.DEVNULL,
        before: Sequence[str] = (),
        cwd: Path = ROOT,
    ) -> None:
        """``cwd``: the folder whose code it runs."""
        super().__init__(queues, environment, stdout, before, cwd)

    def words(self) -> list[str]:
        return [sys.executable, "-m", "worker"]


def environment(config: Path, url: str, **further: str) -> dict[str, str]:
    """Ours without settings of the developer's, and with those of the test."""
    own = {
        key: value
        for key, value in os.environ.items()
        if not key.upper().startswith("GLASSRABBIT") and key != "BROKER_URL"
    }
    return {**own, "GLASSRABBIT_CONFIG": str(config), "BROKER_URL": url, "PYTHONUNBUFFERED": "1", **further}
