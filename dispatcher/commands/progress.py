"""A progress bar on standard error, for a person only: nothing is written where nobody looks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


class Progress:
    """``with Progress(total)``: ``advance`` by each end. ``total`` None: only a count."""

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._bar: Bar | None = None

    def __enter__(self) -> Progress:
        # Where results come line by line to the same person, they are the progress.
        if sys.stderr.isatty() and not (self._total is None and sys.stdout.isatty()):
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = [TextColumn("tasks"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
            # Left to itself it would send standard output here, too.
            self._bar = Bar(
                *columns,
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar.start()
            self._task = self._bar.add_task("tasks", total=self._total)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, ends: int = 1) -> None:
        if self._bar is not None:
            self._bar.advance(self._task, ends)
