"""``load compare``: runs that ``load --out`` has written, side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from dispatcher.errors import CallError
from dispatcher.load_test.tally import SCHEMA
from dispatcher.load_test.text import Run, rows, side_by_side
from protocol.errors import ExitCode

#: No run is larger: a day has 86,400 seconds.
_FILE_BYTES = 16 * 1024 * 1024


class NoRun(CallError):
    """A file that is not what ``load --out`` writes."""

    exit_code = ExitCode.USAGE


class NoPicture(CallError):
    """matplotlib is not installed."""


def read_run(path: str) -> dict[str, Any]:
    """Raises ``NoRun`` and ``OSError``."""
    with Path(path).open("rb") as file:
        body = file.read(_FILE_BYTES + 1)
    try:
        run = json.loads(body) if len(body) <= _FILE_BYTES else None
        if not isinstance(run, dict) or run.get("schema") != SCHEMA:
            raise ValueError("schema")
        rows(run)
        _check_numbers(run)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NoRun(
            f"{path} is no run of a load test (schema {SCHEMA}). Write one with "
            f"`python -m dispatcher load --out {path}`."
        ) from error
    return run


def compare(paths: Sequence[str], output: str, plot: str | None) -> ExitCode:
    """Print the runs, each in a column; draw them."""
    from broker.console.json_text import dumps
    from broker.console.tables import print_table

    runs = [read_run(path) for path in paths]
    if output == "json":
        click.echo(dumps(dict(zip(paths, runs, strict=True)), indent=2))
    else:
        change = ("change",) if len(runs) == 2 else ()
        print_table(("figure", *paths, *change), side_by_side(paths, runs))
        workers = sorted({name for run in runs for name in run["workers"]})
        print_table(
            ("worker", *paths), [(name, *(str(run["workers"].get(name, 0)) for run in runs)) for name in workers]
        )
    if plot is not None:
        draw(paths, runs, plot)
    return ExitCode.OK


def draw(names: Sequence[str], runs: Sequence[Run], path: str) -> None:
    """Latencies, ends a second and the work of each worker, as SVG or what the file's name says.

    Raises ``NoPicture`` and ``OSError``.
    """
    try:
        import matplotlib
    except ImportError:
        raise NoPicture("a picture needs matplotlib. Install it: pip install 'glassrabbit[plot]'.") from None
    matplotlib.use("svg" if path.endswith(".svg") else "agg")
    # A name is shown as it is: no mark-up for formulas.
    matplotlib.rcParams.update({"text.parse_math": False, "svg.fonttype": "none"})
    from matplotlib import pyplot

    from broker.console.escaping import plain

    figure, (latencies, ends, workers) = pyplot.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for number, (name, run) in enumerate(zip(names, runs, strict=True)):
        label = plain(name).lstrip("_") or "run"
        latencies.plot(list(run["latency_ms"]), list(run["latency_ms"].values()), marker="o", label=label)
        ends.plot(range(1, len(run["ends_a_second"]) + 1), run["ends_a_second"], label=label)
        counts = sorted(run["workers"].values(), reverse=True)
        width = 0.8 / len(runs)
        workers.bar([place + number * width for place in range(len(counts))], counts, width, label=label)
    latencies.set(title="Latency, ms", yscale="log")
    ends.set(title="Tasks that ended, each second", xlabel="second", ylim=(0, None))
    workers.set(title="Tasks of each worker, most first", xticks=[])
    for axes in (latencies, ends, workers):
        axes.grid(alpha=0.3)
    latencies.legend()
    try:
        figure.savefig(path)
    except ValueError as error:
        raise NoPicture(f"{path}: {error}. Use a name that ends in .svg, .png or .pdf.") from error
    finally:
        pyplot.close(figure)


def _check_numbers(run: Run) -> None:
    numbers = [*run["workers"].values(), *run["ends_a_second"], *run["latency_ms"].values()]
    if not all(type(number) in (int, float) for number in numbers):
        raise ValueError("a number")
