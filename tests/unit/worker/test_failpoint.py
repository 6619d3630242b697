"""Failpoints: off unless the environment names one, and then exactly there."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from broker.errors import ConfigError
from worker.failpoint import CRASHED, VARIABLE, Armed, Point, armed

ROOT = Path(__file__).parents[3]
PASSING = """
from worker.failpoint import failpoint
after_work, after_ack = failpoint("after_work"), failpoint("after_ack")
for number in range(3):
    if after_work:
        after_work(1)
    print(number, flush=True)
    if after_ack:
        after_ack(1)
"""


def passing(text: str | None) -> subprocess.CompletedProcess[str]:
    """A process that passes two points three times, with ``text`` in its environment."""
    environment = {key: value for key, value in os.environ.items() if key != VARIABLE}
    if text is not None:
        environment[VARIABLE] = text
    return subprocess.run(
        [sys.executable, "-c", PASSING], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize(
    ("text", "code", "passed"),
    [
        (None, 0, [0, 1, 2]),
        ("", 0, [0, 1, 2]),
        ("after_work", CRASHED, []),
        ("after_ack", CRASHED, [0]),
        ("after_work:3", CRASHED, [0, 1]),
        ("after_work:4", 0, [0, 1, 2]),
        ("after_remember", 0, [0, 1, 2]),
    ],
)
def test_a_process_ends_at_the_point_that_was_named_and_nowhere_else(
    text: str | None, code: int, passed: list[int]
) -> None:
    ended = passing(text)
    assert (ended.returncode, [int(line) for line in ended.stdout.split()]) == (code, passed), ended.stderr


@pytest.mark.parametrize("text", ["nowhere", "after_work:0", "after_work:x", "after_work:-1", ":1", "After_work"])
def test_what_is_no_point_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is no failpoint\. Use one of after_work, .*, or unset it\."):
        armed(text)


def test_only_the_named_point_counts() -> None:
    point = Armed("after_ack", 2)
    assert [point.is_due(one) for one in ("after_ack", "after_work", "after_ack")] == [False, False, True]


def test_every_point_is_passed_somewhere_in_the_worker() -> None:
    passed = {
        call.args[0].value
        for file in (ROOT / "worker").rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "failpoint"
        and isinstance(call.args[0], ast.Constant)
    }
    assert passed == set(get_args(Point))


def test_many_tasks_at_once_are_as_many_passes() -> None:
    point = Armed("after_work", 5)
    assert [point.is_due("after_work", times) for times in (2, 2, 3, 1)] == [False, False, True, False]
