"""A worker of this checkout as a process of its own, and its log."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from glassrabbit_testing import worker_process

ends = worker_process.ends

ROOT = Path(__file__).parents[2]


class WorkerProcess(worker_process.WorkerProcess):
    """``python -m worker QUEUE…``, with the code of this checkout or of ``cwd``."""

    words = (sys.executable, "-m", "worker")
    folder = ROOT


def environment(config: Path, url: str, **further: str) -> dict[str, str]:
    """Ours without settings of the developer's, and with those of the test."""
    own = {
        key: value
        for key, value in os.environ.items()
        if not key.upper().startswith("GLASSRABBIT") and key != "BROKER_URL"
    }
    return {**own, "GLASSRABBIT_CONFIG": str(config), "BROKER_URL": url, "PYTHONUNBUFFERED": "1", **further}
