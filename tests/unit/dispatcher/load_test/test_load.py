"""The load test's arithmetic: percentiles, mix, counts, thresholds, and files from elsewhere."""

from __future__ import annotations

import json
import math
from collections import Counter
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Refused
from dispatcher.errors import BadRequest, NoReply, UnknownTask
from dispatcher.load_test.compare import NoPicture, NoRun, compare, draw, read_run
from dispatcher.load_test.histogram import Histogram, drawn
from dispatcher.load_test.plan import Part, Plan, in_progress, parts_of, spread
from dispatcher.load_test.tally import Tally
from dispatcher.load_test.text import changed, print_run
from dispatcher.load_test.threshold import threshold_of
from dispatcher.metrics import Metrics
from dispatcher.pending import End
from protocol.limits import Limits
from protocol.reply import Failure, Reply, Run

HOSTILE = "\x1b[2J\x9b31m\rowned\n$x^2$"


def plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "parts": (Part("noop", 1),),
        "arguments": {},
        "count": 100,
        "duration_s": None,
        "rate": None,
        "window": 10,
        "batch": None,
        "timeout_s": 60.0,
        "collect": "async",
        "failing": 0.0,
        "failing_with": {"reject": True},
    }
    return Plan(**{**values, **changes})


def reply(*, code: str | None = None, attempts: int = 1, worker: str = "host:1") -> Reply:
    failure = None if code is None else Failure(code=code, type="Oops", text="")
    return Reply(id="a" * 32, run=Run(attempts=attempts, worker=worker, ran_ms=20), failure=failure)


def run_of(*ends: End) -> dict[str, Any]:
    tally = Tally(sent=len(ends))
    for number, end in enumerate(ends):
        tally.end(end, 0.1, number * 0.5)
    metrics = Metrics(
        published=len(ends),
        confirmed=len(ends),
        returned=0,
        nacked=0,
        lost=0,
        replies=len(ends),
        duplicates=2,
        strangers=0,
        in_flight=0,
        reconnects=0,
        blocked_s=0.0,
    )
    return tally.to_map(plan(), metrics, 2.0, 40.0)


@given(st.lists(st.floats(0.001, 3.6e6), min_size=1, max_size=300), st.floats(0.1, 100))
def test_a_percentile_is_the_nearest_rank_and_at_most_half_a_percent_off(values: list[float], at: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[math.ceil(at / 100 * len(values)) - 1]
    assert histogram.percentile(at) == pytest.approx(exact, rel=0.00501)
    assert (histogram.least_ms, histogram.greatest_ms) == (min(values), max(values))
    bars = histogram.bars()
    assert sum(count for _upper, count in bars) == len(values)
    assert len(bars) <= 12
    assert bars[-1][0] >= max(values) * 0.999


def test_without_a_latency_there_is_no_percentile_and_no_bar() -> None:
    assert (Histogram().percentile(95), Histogram().bars(), drawn([])) == (0.0, [], [])
    assert drawn([0, 1, 4000]) == ["", "█", "█" * 40]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(1, 400))
def test_a_mix_is_spread_by_weight_at_any_moment(weights: list[int], count: int) -> None:
    parts = [Part(f"t{number}", weight) for number, weight in enumerate(weights)]
    counts = Counter(islice(spread(parts), count))
    for part in parts:
        assert abs(counts[part.task] - count * part.weight / sum(weights)) < len(parts)


@given(st.floats(0, 1), st.integers(1, 300))
def test_a_share_of_the_tasks_fails(share: float, count: int) -> None:
    failing = [arguments for _n, _task, arguments in plan(count=count, failing=share).inputs() if arguments]
    assert len(failing) == int(count * share)
    assert all(arguments == {"reject": True} for arguments in failing)


@pytest.mark.parametrize(
    "texts", [["=1"], ["a=0"], ["a=-1"], ["a=x"], ["a", "a=2"], ["a=²"], ["a=1" + "0" * 9000]]
)
def test_a_mix_that_cannot_be_read_is_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match=r"weight|each task once"):
        parts_of(texts)


def test_what_does_not_go_together_is_refused() -> None:
    for collect, window, batch, is_open in (
        ("sequential", 5, None, False),
        ("threads", None, None, True),
        ("threads", None, 10, False),
    ):
        with pytest.raises(BadRequest, match="Leave"):
            in_progress(collect, window, batch, Limits(), is_open=is_open)
    assert in_progress("sequential", None, None, Limits(), is_open=False) == (1, None)
    assert in_progress("batch", None, None, Limits(), is_open=False) == (20_000, "auto")
    assert in_progress("async", None, None, Limits(), is_open=False) == (500, None)


def test_every_task_is_counted_once() -> None:
    ends: list[End] = [
        reply(),
        reply(attempts=3),
        reply(code="rejected"),
        UnknownTask("x", ["a"]),
        Refused("full. Try again."),
        NoReply("b" * 32, 1, accepted=True),
    ]
    run = run_of(*ends)
    tasks = {"sent": 6, "done": 2, "failed": 1, "returned": 1, "refused": 1, "lost": 1, "retried": 1, "retries": 2}
    assert run["tasks"] == tasks | {"duplicates": 2}
    assert (run["workers"], run["ends_a_second"]) == ({"host:1": 3}, [2, 2, 2])
    assert (run["sequence_s"], run["throughput"], run["first_s"]) == (0.06, 1.5, 0.0)
    # Answered or lost, and not what nobody took.
    assert sum(count for _upper, count in run["histogram_ms"]) == 4


def test_names_of_workers_do_not_fill_the_memory() -> None:
    tally = Tally()
    for number in range(5000):
        tally.end(reply(worker=f"host:{number}"), 0.1, 1.0)
    assert len(tally.workers) == 1001
    assert tally.workers.total() == 5000


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("p95<250ms", True),
        ("p95 < 0.25s", True),
        ("median<=50ms", False),
        ("max>=100ms", True),
        ("success>=99.9%", False),
        ("success>=0.5", True),
        ("throughput>0.9/s", True),
        ("failed<=0", False),
        ("lost<=0", True),
    ],
)
def test_a_threshold_holds_or_is_missed(rule: str, holds: bool) -> None:
    assert threshold_of(rule).holds(run_of(reply(), reply(code="rejected"))) is holds


def test_a_run_that_measured_nothing_holds_no_latency() -> None:
    assert not threshold_of("p95<250ms").holds(run_of())


@pytest.mark.parametrize(
    "rule", ["", "p95", "p95<250", "p95=1ms", "p94<1ms", "lost<=0ms", "p95<nanms", "lost<=1%"]
)
def test_what_is_no_threshold_is_refused(rule: str) -> None:
    with pytest.raises(ValueError, match="is no threshold"):
        threshold_of(rule)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"tasks": None},
        {"latency_ms": {"p50": "x"}},
        {"workers": {"a": "x"}},
        {"workers": []},
        {"ends_a_second": ["x"]},
        {"wall_s": "fast"},
        {"first_s": []},
    ],
)
def test_a_file_that_is_no_run_is_refused_and_says_how_to_write_one(
    change: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps(run_of(reply()) | change))
    with pytest.raises(NoRun, match="load --out"):
        read_run(str(file))
    for text in ("", "[]", "[" * 100_000, "\xff"):
        file.write_bytes(text.encode("latin-1"))
        with pytest.raises(NoRun, match="load --out"):
            read_run(str(file))


def test_hostile_names_are_shown_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(reply(worker=HOSTILE), reply(code=HOSTILE, worker=HOSTILE))
    print_run(run)
    file = tmp_path / "run.json"
    file.write_text(json.dumps(run))
    for output in ("table", "json"):
        compare([str(file), str(file)], output, None)
    shown = capsys.readouterr().out
    assert not {"\x1b", "\x9b", "\r"} & set(shown)
    assert "owned" in shown
    picture = tmp_path / "x.svg"
    if find_spec("matplotlib") is None:
        with pytest.raises(NoPicture, match="plot"):
            draw([HOSTILE], [run], str(picture))
        return
    draw([HOSTILE, "_b"], [run, run], str(picture))
    assert "<svg" in picture.read_text()
    assert "\x1b" not in picture.read_text()
    with pytest.raises(NoPicture, match=r"\.svg"):
        draw(["a"], [run], str(tmp_path / "x.none"))


def test_a_change_is_shown_in_percent_where_it_says_something() -> None:
    assert (changed("100.0/s", "150.0/s"), changed("2.00 s", "1.00 s")) == ("+50 %", "-50 %")
    assert (changed("0", "5"), changed("none", "1 s"), changed("7", "7")) == ("", "", "")
