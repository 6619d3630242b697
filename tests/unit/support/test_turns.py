"""Who may run beside whom, and that a run says what it left out."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from glassrabbit_testing.shared import is_free
from tests.support import turns
from tests.support.place import lacks
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of our own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_what_runs_alone_has_nobody_beside_it() -> None:
    running: list[bool] = []
    seen: list[tuple[bool, int]] = []

    def one(alone: bool) -> None:
        with turns.turn("run", alone=alone):
            running.append(alone)
            time.sleep(0.01)
            seen.append((alone, len(running)))
            running.remove(alone)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(one, alone) for alone in (False, False, True) * 5]:
            done.result(60)
    assert [beside for alone, beside in seen if alone] == [1] * 5
    assert len(seen) == 15


def test_others_run_side_by_side() -> None:
    order: list[str] = []
    with ThreadPoolExecutor(1) as pool, turns.turn("run", alone=False):
        pool.submit(take, "beside", order, alone=False).result(30)
    assert order == ["beside"]


def test_who_waits_to_be_alone_is_not_overtaken() -> None:
    order: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        with turns.turn("run", alone=False):
            alone = pool.submit(take, "alone", order, alone=True)
            eventually(lambda: not is_free("run", "gate"), "the one that waits to be alone")
            later = pool.submit(take, "later", order, alone=False)
            assert not order
        alone.result(30)
        later.result(30)
    assert order == ["alone", "later"]


def take(name: str, order: list[str], *, alone: bool) -> None:
    with turns.turn("run", alone=alone):
        order.append(name)


@pytest.mark.timeout(120)
def test_a_run_names_what_a_place_lacks_and_the_tests_that_it_left_out(tmp_path: Path) -> None:
    words = ["-n", "2", "--quick", "-p", "no:cacheprovider", "tests/unit/test_monitoring.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    _, _, left_out = done.stdout.partition("this place has no promtool (apt-get install prometheus)")
    assert "tests/unit/test_monitoring.py::test_the_alert_rules_are_right\n" in left_out
    assert "skipped" not in done.stdout


def test_a_need_that_nobody_described_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        lacks("luck")
