"""What campaigns came to: one line of JSON for each, and a table over any number of them.

python -m tests.chaos.report FILE… prints the table of these campaigns in Markdown, a column for each broker.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tests.chaos.counts import Counts, quantile

_ALL = "all"
_GREATEST = ("worst_gap_s", "late_s", "late_after_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One campaign. ``broken``: how often each invariant was."""

    system: str
    broker: str
    seed: int
    #: Repeats its load and its faults.
    command: str
    state: str
    text: str
    broken: Mapping[str, int]
    counts: Counts


def to_line(result: Result) -> str:
    return json.dumps({**_fields(result), "counts": _fields(result.counts)})


def _fields(one: Result | Counts) -> dict[str, Any]:
    return {item.name: getattr(one, item.name) for item in fields(one)}


def from_line(line: str) -> Result:
    values: dict[str, Any] = json.loads(line)
    counts = values.pop("counts")
    return Result(**values, counts=Counts(**{**counts, "recovery_s": tuple(counts["recovery_s"])}))


def table(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Its head and its rows; the last column is that of all campaigns, if they ran on more than one broker."""
    brokers = list(dict.fromkeys(result.broker for result in results))
    columns = {broker: [result for result in results if result.broker == broker] for broker in brokers}
    if len(brokers) > 1:
        columns[_ALL] = list(results)
    rows = [("RabbitMQ", *columns)]
    rows += [(label, *(figure(column) for column in columns.values())) for label, figure in _FIGURES.items()]
    rows += _by_name("fault: ", "faults", columns)
    rows += _by_name("dead: ", "dead", columns)
    rows += _by_name("run again: ", "explained", columns)
    return rows


def repeat(results: Sequence[Result]) -> list[str]:
    """The commands that repeat campaigns, each with what became of it."""
    return [f"{result.command}  # RabbitMQ {result.broker}: {result.state}" for result in results]


def markdown(results: Sequence[Result]) -> str:
    head, *rows = table(results)
    lines = [head, ("---", *["---:"] * (len(head) - 1)), *rows]
    block = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return "\n".join([block, "", "```", *repeat(results), "```"])


def merged(counts: Sequence[Counts]) -> Counts:
    """Those of several campaigns as one."""
    return Counts(
        **{item.name: _sum(item.name, [getattr(one, item.name) for one in counts]) for item in fields(Counts)}
    )


def _sum(name: str, values: Sequence[Any]) -> Any:
    if name in _GREATEST:
        return max(values, default=0.0)
    if any(isinstance(value, Mapping) for value in values):
        total: Counter[str] = Counter()
        for value in values:
            total.update(value)
        return total
    return sum(values, start=() if name == "recovery_s" else 0)


def _of(text: Callable[[Counts], str]) -> Callable[[Sequence[Result]], str]:
    return lambda results: text(merged([result.counts for result in results]))


def _broken(*names: str) -> Callable[[Sequence[Result]], str]:
    return lambda results: str(sum(result.broken.get(name, 0) for result in results for name in names))


def _others(results: Sequence[Result]) -> str:
    shown = ("lost", "duplicate", "recovery")
    found: Counter[str] = Counter()
    for result in results:
        found.update({name: count for name, count in result.broken.items() if name not in shown})
    return ", ".join(f"{name} {count}" for name, count in sorted(found.items())) or "0"


#: Label → figure. What is asked for counts keys: one that is asked for again under the same id is one.
_FIGURES: Mapping[str, Callable[[Sequence[Result]], str]] = {
    "campaigns passed": lambda results: f"{sum(one.state == 'pass' for one in results)} of {len(results)}",
    "minutes": _of(lambda counts: f"{counts.minutes:.0f}"),
    "faults": _of(lambda counts: str(sum(counts.faults.values()))),
    "submitted": _of(lambda counts: str(sum(counts.asked.values()))),
    "confirmed": _of(lambda counts: str(counts.accepted)),
    "unknown to the caller": _of(lambda counts: str(counts.unknown)),
    "refused or returned": _of(lambda counts: str(counts.refused + counts.returned)),
    "runs of handlers": _of(lambda counts: str(counts.runs)),
    "**lost**": _broken("lost"),
    "**duplicates that no fault explains**": _broken("duplicate"),
    "duplicates explained by a fault": _of(lambda counts: str(sum(counts.explained.values()))),
    "dead letters": _of(lambda counts: str(sum(counts.dead.values()))),
    "**wedges**: no work within 10 s of a healed fault": _broken("recovery"),
    "other invariants broken": _others,
    "recovery p50, p95, max": _of(
        lambda counts: ", ".join(f"{quantile(counts.recovery_s, part):.2f}" for part in (0.5, 0.95, 1)) + " s"
    ),
    "longest time without a finished task": _of(lambda counts: f"{counts.worst_gap_s:.1f} s"),
    "latest start, without a fault": _of(lambda counts: f"{counts.late_s:.1f} s"),
    "latest start, beyond the time of faults": _of(lambda counts: f"{counts.late_after_s:.1f} s"),
}


def _by_name(prefix: str, field: str, columns: Mapping[str, Sequence[Result]]) -> list[tuple[str, ...]]:
    """A row for each name of a count by name."""
    sums = [getattr(merged([result.counts for result in column]), field) for column in columns.values()]
    names = sorted({name for one in sums for name in one})
    return [(prefix + name, *(str(one.get(name, 0)) for one in sums)) for name in names]


if __name__ == "__main__":
    print(markdown([from_line(line) for name in sys.argv[1:] for line in Path(name).read_text().splitlines()]))
