"""Memory does not grow with the number of tasks."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.installation import Install
from tests.support.workers import ROOT

TASKS = 200_000
LIMIT_BYTES = 10 * 1024 * 1024
_WITHIN_S = 400


@pytest.mark.timeout(_WITHIN_S + 30)
@pytest.mark.parametrize("batch", [[], ["auto"]], ids=["single tasks", "batches"])
def test_a_map_of_200000_tasks_from_a_generator_takes_no_more_memory_than_one_of_50000(
    install: Install, batch: list[str]
) -> None:
    installation = install(
        queues={"queue_a": {"prefetch": 300}},
        tasks={"echo": {"executor": "thread", "timeout_s": 5}},
        defaults={"timeout_s": 5},
    )
    installation.worker()

    done = subprocess.run(
        [sys.executable, "-m", "tests.support.mapper", str(TASKS), *batch],
        cwd=ROOT,
        env=installation.environment,
        check=True,
        stdout=subprocess.PIPE,
        timeout=_WITHIN_S,
    )

    told = json.loads(done.stdout)
    print(told)
    assert told["done"] == TASKS
    assert told["grown_bytes"] < LIMIT_BYTES
