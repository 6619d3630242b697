"""The two spikes of docs/workers.md: what their data, pictures and page say."""

from __future__ import annotations

import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from dispatcher.load_test.compare import compare
from tests.support.pages import block_with, section
from tests.support.spike import text, wrong
from tests.support.spike_picture import draw, title
from tests.support.workers import ROOT

PAGE = (ROOT / "docs" / "workers.md").read_text()


@pytest.fixture(params=["local", "compose"])
def shown(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The data of a picture of the page."""
    path = ROOT / "docs" / f"spike-{request.param}.json"
    data: dict[str, Any] = json.loads(path.read_text())
    return data


def test_the_runs_of_the_page_lost_no_task_ran_none_twice_and_came_back(shown: dict[str, Any]) -> None:
    assert wrong(shown) == []
    assert (shown["plan"]["tasks"], shown["plan"]["seconds"]) == (5000, 0.05)


def test_the_page_shows_every_decision_of_its_runs(shown: dict[str, Any]) -> None:
    name = f"spike-{shown['over']}.svg"
    (block,) = re.findall(rf"\({re.escape(name)}\)\n\n((?:    .*\n)+)", PAGE)
    lines = [line.strip() for line in block.splitlines()]
    assert lines == [text(one) for one in shown["decisions"]]


def test_the_pictures_are_of_these_runs(shown: dict[str, Any], tmp_path: Path) -> None:
    drawn = (ROOT / "docs" / f"spike-{shown['over']}.svg").read_text()
    assert f">{title(shown)}</text>" in drawn
    if find_spec("matplotlib") is None:
        with pytest.raises(ModuleNotFoundError):
            draw(shown, tmp_path / "x.svg")
    else:
        draw(shown, tmp_path / "x.svg")
        assert f">{title(shown)}</text>" in (tmp_path / "x.svg").read_text()


def test_the_page_shows_what_load_said_before_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("before.json", "after.json"):
        shutil.copy(ROOT / "docs" / f"scale-{name}", name)
        assert f">{name}</text>" in (ROOT / "docs" / "scale-before-after.svg").read_text()
    compare(["before.json", "after.json"], "table", None)
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    block = block_with(section("docs/workers.md", "Containers"), "console", "load compare")
    shown = [" ".join(line.split()) for line in block.splitlines() if line.startswith("  ")]
    assert len(shown) == 5
    assert [line for line in shown if line not in printed] == []
