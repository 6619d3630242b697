"""docs/performance.md shows what its data say, in words and in its picture, and names only what there is."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import main
from tests.benchmarks.figures import Figures, Spread
from tests.benchmarks.goals import GOALS
from tests.benchmarks.page import DOCS, FIGURES, PAGE, PICTURE, filled, read
from tests.benchmarks.page import main as make
from tests.benchmarks.sections import consumed
from tests.benchmarks.tables import TABLES, bottleneck

TEXT = (DOCS / PAGE).read_text()
DATA = read(DOCS / FIGURES)


def test_the_tables_are_what_the_data_say() -> None:
    assert filled(TEXT, DATA) == TEXT


def test_every_table_has_its_place_on_the_page() -> None:
    assert sorted(re.findall(r"<!-- table: ([a-z-]+) -->", TEXT)) == sorted([*TABLES, "bottleneck"])


def test_the_picture_shows_the_rates_of_the_table() -> None:
    drawn = (DOCS / PICTURE).read_text()
    for one in DATA.rates:
        assert f">{one.contestant}</text>" in drawn
        assert f">{one.tasks_per_s.median:,.0f}</text>" in drawn


@pytest.mark.parametrize("arguments", re.findall(r"make bench ARGS='([^']*)'", TEXT))
def test_the_commands_of_the_page_are_understood(arguments: str) -> None:
    assert main.make_context("bench", shlex.split(arguments)) is not None


def test_the_page_is_made_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / PAGE).write_text(
        re.sub(r"(<!-- table: [a-z-]+ -->\n).*?(<!-- end -->)", r"\1\2", TEXT, flags=re.DOTALL)
    )
    if find_spec("matplotlib") is None:
        with pytest.raises(SystemExit, match=r"\[plot\]"):
            make(DOCS / FIGURES, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [PAGE]
    else:
        make(DOCS / FIGURES, tmp_path)
        assert (tmp_path / PAGE).read_text() == TEXT
        assert (tmp_path / FIGURES).read_text() == (DOCS / FIGURES).read_text()
        assert "</svg>" in (tmp_path / PICTURE).read_text()


def test_other_figures_make_other_tables() -> None:
    doubled = replace(DATA, rates=[replace(one, tasks_per_s=_doubled(one.tasks_per_s)) for one in DATA.rates])
    assert filled(TEXT, doubled) != TEXT


def test_a_goal_that_was_missed_is_said_to_be_missed() -> None:
    for goal in GOALS:
        value = goal.value(DATA)
        if value is not None and not goal.reached(value):
            assert re.search(rf"^\| {re.escape(goal.text)} \|.*\| \*\*no\*\* \|$", TEXT, re.MULTILINE)


def test_the_broker_is_the_bottleneck_when_it_takes_most_of_a_full_machine() -> None:
    (one, *_) = DATA.rates
    busy = replace(
        one,
        tasks_per_s=Spread(median=10_000, low=1, high=1),
        broker_cpu_us=140.0,
        requester_cpu_us=20.0,
        worker_cpu_us=30.0,
    )
    idle = replace(busy, tasks_per_s=Spread(median=1000, low=1, high=1))
    with_two_cores = replace(DATA.about, cores=2)
    assert _told(busy, with_two_cores)
    assert not _told(replace(busy, worker_cpu_us=130.0), with_two_cores)
    assert not _told(idle, with_two_cores)


def test_a_rate_of_consuming_leaves_out_both_ends_of_the_queue() -> None:
    points = [(0.0, 1000), (5.0, 1000), (5.1, 800), (5.2, 600), (5.3, 400), (5.4, 200), (9.0, 1), (9.1, 0)]
    assert consumed(points) == pytest.approx(2000)


def _doubled(spread: Spread) -> Spread:
    return Spread(median=2 * spread.median, low=spread.low, high=2 * spread.high)


def _told(one: object, about: object) -> list[str]:
    figures: Figures = replace(DATA, rates=[one], about=about)  # type: ignore[arg-type,list-item]
    return bottleneck(figures)
