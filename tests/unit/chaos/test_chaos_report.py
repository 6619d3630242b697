"""The report of campaigns: lines that keep everything, and a table that adds campaigns up."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.chaos.counts import Counts
from tests.chaos.report import Result, from_line, markdown, merged, table, to_line

PASSED = Counts(
    minutes=10.4,
    asked=Counter(ok=90, hostile=10),
    accepted=97,
    unknown=1,
    returned=2,
    dead=Counter(rejected=3),
    runs=95,
    explained=Counter({"worker killed": 2}),
    faults=Counter({"worker killed": 1, "resets": 2}),
    recovery_s=(0.5, 0.1, 2.0),
    worst_gap_s=3.0,
    late_s=0.4,
    late_after_s=12.0,
)
BROKEN = Counts(minutes=5, asked={"ok": 5}, accepted=5, faults={"resets": 1}, recovery_s=(9.0,), worst_gap_s=1.0)


def result(broker: str = "4.0.5", counts: Counts = PASSED, **fields: Any) -> Result:
    usual: dict[str, Any] = {"system": "glassrabbit", "seed": 7, "command": "python -m tests.chaos --seed 7"}
    return Result(broker=broker, counts=counts, **{"state": "pass", "text": "", "broken": {}} | usual | fields)


def cells(*results: Result) -> dict[str, tuple[str, ...]]:
    return {label: figures for label, *rest in table(results) for figures in [tuple(rest)]}


def test_a_line_gives_back_the_same_result() -> None:
    assert from_line(to_line(result())) == result()
    assert "\n" not in to_line(result(text="two\nlines"))


def test_a_table_of_one_campaign_has_one_column() -> None:
    rows = cells(result())
    assert rows["RabbitMQ"] == ("4.0.5",)
    assert rows["campaigns passed"] == ("1 of 1",)
    assert (rows["minutes"], rows["submitted"], rows["confirmed"]) == (("10",), ("100",), ("97",))
    assert (rows["refused or returned"], rows["**lost**"]) == (("2",), ("0",))
    assert (rows["fault: resets"], rows["dead: rejected"]) == (("2",), ("3",))
    assert rows["recovery p50, p95, max"] == ("0.50, 2.00, 2.00 s",)


def test_campaigns_of_one_broker_are_added_up_and_all_of_them_have_a_column_of_their_own() -> None:
    broken = result("3.10.8", BROKEN, state="broken", broken={"lost": 2, "recovery": 1, "early": 4})
    rows = cells(result(), broken, result())
    assert rows["RabbitMQ"] == ("4.0.5", "3.10.8", "all")
    assert rows["campaigns passed"] == ("2 of 2", "0 of 1", "2 of 3")
    assert rows["submitted"] == ("200", "5", "205")
    assert rows["**lost**"] == ("0", "2", "2")
    assert rows["**wedges**: no work within 10 s of a healed fault"] == ("0", "1", "1")
    assert rows["other invariants broken"] == ("0", "early 4", "early 4")
    assert rows["fault: worker killed"] == ("2", "0", "2")
    assert rows["longest time without a finished task"] == ("3.0 s", "1.0 s", "3.0 s")
    assert rows["latest start, beyond the time of faults"] == ("12.0 s", "0.0 s", "12.0 s")


def test_what_is_merged_with_nothing_is_itself() -> None:
    assert merged([PASSED]) == PASSED
    assert merged([PASSED, Counts()]).asked == PASSED.asked


def test_the_page_names_the_command_that_repeats_each_campaign() -> None:
    page = markdown([result(), result("3.10.8", state="unknown")])
    assert "| **lost** | 0 | 0 | 0 |" in page
    assert "python -m tests.chaos --seed 7  # RabbitMQ 3.10.8: unknown" in page
