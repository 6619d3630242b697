"""Ends of tasks on standard output, as they come, and how far they have come."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from broker.console.escaping import plain
from broker.console.json_text import dumps
from broker.console.streams import write
from protocol.errors import with_type

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

HEAD = ("id", "attempts", "queued", "ran", "worker", "end")
#: Ids are whole: they can be pasted.
_WIDTHS = (32, 8, 8, 8, 16, 0)


class Printer:
    """``async with Printer(output)``, one of ``FORMATS``: ``put`` them as maps, any number of times."""

    def __init__(self, output: str) -> None:
        self._output = output
        self._is_first = True

    async def __aenter__(self) -> Printer:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._output == "json":
            await write("[]\n" if self._is_first else "\n]\n")

    async def put(self, ends: Iterable[Mapping[str, Any]]) -> None:
        """Return when it is written. Others go on meanwhile."""
        await write("".join(map(self._text, ends)))

    def _text(self, end: Mapping[str, Any]) -> str:
        if self._output == "jsonl":
            return dumps(end) + "\n"
        is_first, self._is_first = self._is_first, False
        if self._output == "json":
            return ("[\n" if is_first else ",\n") + dumps(end)
        if self._output == "plain":
            return "\t".join(_cells(end)) + "\n"
        return (_aligned(HEAD) if is_first else "") + _aligned(_cells(end))


def _aligned(cells: Iterable[str]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)) + "\n"


def _cells(end: Mapping[str, Any]) -> tuple[str, ...]:
    times = (f"{end[key] / 1000:.2f} s" if key in end else "" for key in ("queued_ms", "ran_ms"))
    error = end.get("error")
    text = f"{error['code']}: {with_type(**error)}" if error else dumps(end.get("result"))
    return tuple(map(plain, (end["id"] or "", str(end.get("attempts", "")), *times, end.get("worker", ""), text)))


class Progress:
    """A progress bar on standard error, for a person only: nothing is written where nobody looks.

    ``with Progress(total)``: ``advance`` by each end. ``total`` None: only a count.
    """

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
