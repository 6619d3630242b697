"""Verdicts for eyes and for programs. What a broker or a client named is escaped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from broker.console.escaping import plain_json
from broker.dead_letters.text import cell
from broker.doctor.verdict import Point, State, Verdict, diagnosis

if TYPE_CHECKING:
    from rich.text import Text

_MARKS = {State.OK: "✓", State.FAILED: "✗", State.UNKNOWN: "–"}
_COLOURS = {State.OK: "green", State.FAILED: "red", State.UNKNOWN: "yellow"}
#: Characters of one line of text.
_LINE = 600
_WIDTH = 17
#: What keeps all that follows from being seen.
_FIRST = ("reachable", "login")


def to_json(verdicts: Sequence[Verdict]) -> str:
    """As JSON without any character that is not printable."""
    point = diagnosis(verdicts)
    report = {
        "schema": 1,
        "ok": point is None,
        "failure": point,
        "checks": [{"number": number, **asdict(one)} for number, one in enumerate(verdicts, start=1)],
    }
    return plain_json(json.dumps(report, ensure_ascii=False, indent=2))


def to_text(verdicts: Sequence[Verdict]) -> Text:
    """A line for each check, under what failed why it matters and what to do; at the end which failure this is."""
    from rich.text import Text

    text = Text()
    down = False
    for one in verdicts:
        text.append(_MARKS[one.state], style=_COLOURS[one.state])
        text.append(f" {one.check:<{_WIDTH}} {cell(one.measured, _LINE)}\n")
        if one.state is State.FAILED:
            text.append(f"    why: {cell(one.why, _LINE)}\n", style="dim")
            text.append(f"    fix: {cell(one.fix, _LINE)}\n", style="bold")
            down = down or one.check in _FIRST
        elif one.state is State.UNKNOWN and not down:
            text.append(f"    {cell(one.fix, _LINE)}\n", style="dim")
    text.append(_ending(verdicts))
    return text


def _ending(verdicts: Sequence[Verdict]) -> Text:
    from rich.text import Text

    failed = [one for one in verdicts if one.state is State.FAILED]
    unseen = sum(one.state is State.UNKNOWN for one in verdicts)
    point = diagnosis(verdicts)
    if point is None:
        rest = f"; {unseen} to know of (–)" if unseen else ""
        return Text(f"{len(verdicts) - unseen} of {len(verdicts)} checks ok{rest}", style="green")
    first = next(one for one in failed if one.point is point)
    points = " → ".join(f"[{one}]" if one is point else one for one in Point)
    count = f"{len(failed)} of {len(verdicts)} checks failed"
    return Text(f"{points}\nThis is: {point}. {count}; begin with {first.check}.", style="red")
