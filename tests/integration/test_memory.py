"""Memory does not grow with the number of tasks."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.installation import Install
from tests.support.workers import ROOT

#: As much as this for each task that comes after the first quarter is noise.
LIMIT_BYTES_PER_TASK = 70
_WITHIN_S = 400


@pytest.mark.alone
@pytest.mark.timeout(_WITHIN_S + 30)
@pytest.mark.parametrize(
    ("tasks", "batch"),
    [
        pytest.param(80_000, [], id="80000 single tasks", marks=pytest.mark.long),
        pytest.param(200_000, [], id="200000 single tasks", marks=pytest.mark.long),
        pytest.param(200_000, ["auto"], id="200000 tasks in batches"),
    ],
)
def test_a_map_from_a_generator_takes_no_more_memory_than_one_of_a_quarter_of_its_tasks(
    install: Install, tasks: int, batch: list[str]
) -> None:
    installation = install(
        queues={"queue_a": {"prefetch": 300}},
        tasks={"echo": {"executor": "thread", "timeout_s": 5}},
        defaults={"timeout_s": 5},
    )
    installation.worker()

    done = subprocess.run(
        [sys.executable, "-m", "tests.support.mapper", str(tasks), *batch],
        cwd=ROOT,
        env=installation.environment,
        check=True,
        stdout=subprocess.PIPE,
        timeout=_WITHIN_S,
    )

    said = json.loads(done.stdout)
    print(said)
    assert said["done"] == tasks
    assert said["grown_bytes"] < LIMIT_BYTES_PER_TASK * (tasks - tasks // 4)
