"""Tables on standard output: aligned columns for eyes, tabs for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from broker.console.escaping import plain

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table
    from rich.text import Text

#: To a pipe nothing is cut or wrapped.
_PIPE_WIDTH = 10_000


def console() -> Console:
    """Standard output as ``rich`` writes to it."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]], *, tabs: bool = False) -> None:
    """Print rows under a head; with ``tabs``: one row a line, tabs between the cells, no head."""
    if tabs:
        for row in rows:
            print("\t".join(plain(str(cell)) for cell in row))  # noqa: T201 - data goes to standard output
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(*head, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(plain(str(cell))) for cell in row))
    console().print(Fitting(table))


def print_maps(head: Sequence[str], maps: Sequence[Mapping[str, object]], output: str) -> None:
    """Print maps with these keys in one of ``broker.console.options.FORMATS``."""
    from broker.console.json_text import dumps

    if output in ("json", "jsonl"):
        for line in [dumps(maps, indent=2)] if output == "json" else map(dumps, maps):
            print(line)  # noqa: T201 - data goes to standard output
        return
    rows = [["–" if one[key] is None else one[key] for key in head] for one in maps]
    print_table([key.replace("_", " ") for key in head], rows, tabs=output == "plain")


class Fitting:
    """A table that is never cut: where it is too wide, columns without a head go, and rows take more lines."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        from rich.measure import Measurement

        table, wide = self._table, options.update(max_width=_PIPE_WIDTH)
        if Measurement.get(console, wide, table).maximum <= options.max_width:
            yield table
        elif all(column.header for column in table.columns):
            yield from _on_more_lines(table, options.max_width)
        else:
            table.columns = [column for column in table.columns if column.header]
            yield Fitting(table)


def _on_more_lines(table: Table, width: int) -> Iterator[Text]:
    """The head, and then each row, broken before the same columns."""
    from rich.text import Text

    columns = [
        [Text.assemble(one if isinstance(one, Text) else str(one)) for one in (column.header, *column.cells)]
        for column in table.columns
    ]
    sizes = [max(cell.cell_len for cell in column) for column in columns]
    for row in zip(*columns, strict=True):
        line = Text(" ")
        for cell, size, column in zip(row, sizes, table.columns, strict=True):
            if line.cell_len + size > width and line.plain.strip():
                line.rstrip()
                yield line
                line = Text("   ")
            cell.align(column.justify, size)
            line.append_text(cell).append("  ")
        line.rstrip()
        yield line
