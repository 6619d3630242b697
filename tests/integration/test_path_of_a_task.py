"""How much code one plain task passes through in a worker: a reader has to follow it, and each call costs time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

from tests.support.installation import Install
from tests.support.workers import ROOT

MOST_CALLS = 125
MOST_FILES = 31
WARM, COUNTED = 50, 100


@pytest.mark.parametrize("is_steered", [False, True])
def test_a_plain_task_passes_through_few_files_and_calls(
    install: Install, tmp_path: Path, is_steered: bool
) -> None:
    """A worker that is steered does no more for a task, as long as nothing is paused, cancelled or drained."""
    installation = install(control={"enabled": is_steered})
    caller, log, tasks = installation.caller(), (tmp_path / "log").open("w+"), []
    with (
        log,
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.counted_worker", "queue_a"],
            cwd=ROOT,
            env=installation.environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as worker,
    ):
        assert worker.stdout is not None
        try:
            for number in range(WARM + COUNTED):
                caller.ask("echo", {"value": number})
                tasks.append(json.loads(worker.stdout.readline()))
        finally:
            worker.kill()
    assert median(task["calls"] for task in tasks[WARM:]) <= MOST_CALLS
    assert median(task["files"] for task in tasks[WARM:]) <= MOST_FILES
