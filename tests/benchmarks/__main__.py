"""``python -m tests.benchmarks``: the round trip of tasks that do nothing, beside bare pika.

Prints figures and judges none: it is no test. The whole run takes less than three minutes.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import click

from broker.shell import told
from broker.tables import print_table
from protocol.errors import ExitCode
from tests.benchmarks import report
from tests.benchmarks.contestants import ALL, PREFETCH
from tests.benchmarks.measure import Plan, ready_times, rounds
from tests.benchmarks.place import Place, place

_CALLS = 100


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--rounds", "count", type=click.IntRange(min=1), default=7, help="Rounds that count.")
@click.option("--tasks", type=click.IntRange(min=1), default=6000, help="Tasks of each contestant in a round.")
@click.option("--window", type=click.IntRange(min=2), default=500, help="Tasks under way at a time.")
@click.option("--json", "path", type=click.Path(dir_okay=False, path_type=Path), default=Path("bench.json"))
@told
def main(count: int, tasks: int, window: int, path: Path) -> None:
    """Measure on the broker of BROKER_URL, else on a private node; print a table and write bench.json."""
    # Told to end, it ends its workers as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.INTERRUPTED))
    started_s = time.monotonic()
    plan = Plan(count, tasks, window, _CALLS)
    with tempfile.TemporaryDirectory(prefix="glassrabbit-bench-") as folder, place(Path(folder)) as where:
        _tell(f"RabbitMQ {where.version} at {where.where}: starting workers")
        ready_s = ready_times(where)
        samples = rounds(where, plan, started_s, lambda number: _tell(_round(number, count)))
    lines = report.lines(samples, ready_s)
    print_table(report.RATE_HEAD, [report.rate_row(line) for line in lines])
    print_table(report.REST_HEAD, [report.rest_row(line) for line in lines])
    done, took_s = len(samples) // len(ALL), time.monotonic() - started_s
    _tell(
        f"{done} of {count} rounds of {tasks} tasks each, in {took_s:.0f} s; ratios are to bare, in the same round"
    )
    figures = [report.to_map(line) for line in lines]
    raw = {"ready_s": ready_s, "samples": [asdict(sample) for sample in samples]}
    about = {**_about(where), **asdict(plan), "prefetch": PREFETCH}
    path.write_text(json.dumps({"schema": 1, "about": about, "figures": figures, "raw": raw}, indent=1) + "\n")


def _about(where: Place) -> dict[str, object]:
    """What the figures depend on."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rabbitmq": where.version,
        "python": platform.python_version(),
        "pika": version("pika"),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "concurrency": {one.name: one.concurrency for one in ALL},
    }


def _round(number: int, count: int) -> str:
    return f"round {number} of {count}" if number else "warming up"


def _tell(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main(prog_name="python -m tests.benchmarks")
