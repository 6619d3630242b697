"""Tables on standard output: aligned columns for eyes, tabs for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from broker.console.escaping import plain

#: To a pipe nothing is cut or wrapped.
_PIPE_WIDTH = 10_000


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]], *, tabs: bool = False) -> None:
    """Print rows under a head; with ``tabs``: one row a line, tabs between the cells, no head."""
    if tabs:
        for row in rows:
            print("\t".join(plain(str(cell)) for cell in row))  # noqa: T201 - data goes to standard output
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*head, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(plain(str(cell))) for cell in row))
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)
