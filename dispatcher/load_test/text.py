"""A load test for people: one run, or several side by side. Pure, but for what prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dispatcher.load_test.histogram import drawn

Run = Mapping[str, Any]

TASKS = ("sent", "done", "failed", "returned", "refused", "lost", "retried", "retries", "duplicates")
LATENCIES = {"min": "min", "p50": "median", "p75": "p75", "p95": "p95", "p99": "p99", "max": "max"}


def rows(run: Run) -> list[tuple[str, str]]:
    """Name and value of each figure."""
    messages = run["messages"]
    latency = run["latency_ms"]
    return [
        *((name, str(run["tasks"][name])) for name in TASKS),
        ("messages accepted", f"{messages['accepted']} of {messages['sent']}"),
        ("success rate", f"{run['success'] * 100:.2f} %"),
        ("throughput", f"{run['throughput']:.1f}/s"),
        ("wall time", f"{run['wall_s']:.2f} s"),
        ("first result", "none" if run["first_s"] is None else f"{run['first_s']:.3f} s"),
        ("in sequence it would take", f"{run['sequence_s']:.2f} s"),
        ("speed-up", f"{run['speed_up']:.2f}"),
        ("memory, at most", "unknown" if run["memory_mib"] is None else f"{run['memory_mib']:.1f} MiB"),
        *((f"latency {name}", f"{latency[key]:.1f} ms") for key, name in LATENCIES.items()),
    ]


def histogram_rows(run: Run) -> list[tuple[str, str, str]]:
    """Upper end, count and bar of each step of the latencies."""
    bars = run["histogram_ms"]
    pictures = drawn([count for _upper, count in bars])
    return [(f"{upper:.1f} ms", str(count), bar) for (upper, count), bar in zip(bars, pictures, strict=True)]


def worker_rows(run: Run) -> list[tuple[str, str, str]]:
    """How the work was spread: worker, executions that were answered, bar."""
    workers = run["workers"]
    pictures = drawn(list(workers.values()))
    return [(name, str(count), bar) for (name, count), bar in zip(workers.items(), pictures, strict=True)]


def error_rows(run: Run) -> list[tuple[str, str]]:
    return [(name, str(count)) for name, count in run["errors"].items()]


def print_run(run: Run) -> None:
    from broker.console.tables import print_table

    print_table(("figure", "value"), rows(run))
    for head, table in (
        (("latency up to", "tasks", ""), histogram_rows(run)),
        (("worker", "tasks", ""), worker_rows(run)),
        (("error", "tasks"), error_rows(run)),
    ):
        if table:
            print_table(head, table)


def side_by_side(names: Sequence[str], runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """The figures of each run in a column, and of two runs how the numbers changed."""
    columns = [dict(rows(run)) for run in runs]
    table = []
    for figure in columns[0]:
        values = [column[figure] for column in columns]
        change = (changed(*values),) if len(names) == 2 else ()
        table.append((figure, *values, *change))
    return table


def changed(before: str, after: str) -> str:
    """``+12 %`` from one value to another of the same unit; empty where that says nothing."""
    try:
        one, other = float(before.split()[0].rstrip("/s")), float(after.split()[0].rstrip("/s"))
    except ValueError:
        return ""
    return "" if one == other or not one else f"{(other - one) / one * 100:+.0f} %"
