"""Tables on a terminal of 80 columns: nothing is cut, and what is to be pasted stays in one piece."""

from __future__ import annotations

import io

import pytest
from rich import box
from rich.console import Console
from rich.table import Table

from broker.console.tables import Fitting

ID = "0123456789abcdef" * 2


def shown(table: Table, width: int) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width).print(Fitting(table))
    return [line.rstrip() for line in file.getvalue().splitlines() if line.strip()]


def table(*heads: str) -> Table:
    made = Table(*heads, box=box.SIMPLE_HEAD)
    made.add_row(*(ID if head == "id" else head.upper() * 4 for head in heads))
    return made


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_each_head_and_each_cell_stands_whole_on_a_line_that_fits(width: int) -> None:
    heads = ["died", "queue", "id", "task", "reason", "attempts", "replays", "text"]
    lines = shown(table(*heads), width)
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    assert words == [*heads, *(ID if head == "id" else head.upper() * 4 for head in heads)]


def test_a_table_that_fits_is_left_as_it_is() -> None:
    assert shown(table("id", "task"), 80)[0].split() == ["id", "task"]
    assert "───" in shown(table("id", "task"), 80)[1]


def test_a_picture_is_left_out_before_a_row_takes_two_lines() -> None:
    made = Table("queue", "", box=box.SIMPLE_HEAD)
    made.add_row("queue_a", "█" * 20)
    assert "█" * 20 in "".join(shown(made, 40))
    assert shown(made, 20)[-1].split() == ["queue_a"]
