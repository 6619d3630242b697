"""``python -m tests.benchmarks``: what a task costs, beside bare pika, peers, and a client in C.

Prints figures and judges none: it is no test. ``python -m tests.benchmarks.page`` makes the page of a run.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import click

from broker.console.options import reports_errors
from broker.console.tables import print_table
from protocol.errors import ExitCode
from tests.benchmarks import sections
from tests.benchmarks.c_client import CannotBuild, build
from tests.benchmarks.contestants import (
    BARE,
    BATCHES,
    CELERY_AS_IT_COMES,
    HAS_BATCHES,
    OURS,
    PEER,
    Contestant,
    c_client,
)
from tests.benchmarks.figures import About, Figures, figures
from tests.benchmarks.life import life
from tests.benchmarks.measure import more_starts, pairs, rounds
from tests.benchmarks.place import Place, place
from tests.benchmarks.samples import Plan, Raw
from tests.benchmarks.tables import TABLES, bottleneck
from tests.benchmarks.work import PREFETCH
from tests.support.brokers import IMAGES
from tests.support.peers import prepare, versions

#: What can be measured beside rounds of load and calls at rest.
SECTIONS = ("halves", "workers", "life", "starts", "one-ways", "maps", "sleeping")
_MORE_STARTS = 2
_LIFE_CALLS = 300
_PACKAGES = ("pika", "celery", "aio-pika", "faststream", "taskiq", "taskiq-aio-pika", "dramatiq")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--rounds", "count", type=click.IntRange(min=1), default=5, help="Rounds that count.")
@click.option("--seconds", type=click.FloatRange(min=0.05), default=1.5, help="Of load, for each in a round.")
@click.option("--window", type=click.IntRange(min=2), default=500, help="Tasks under way at a time.")
@click.option("--calls", type=click.IntRange(min=0), default=200, help="Calls one at a time in a round.")
@click.option("--peers", is_flag=True, help="Celery and the others as well, and the client in C.")
@click.option("--only", multiple=True, metavar="NAME", help="These contestants alone (may be given again).")
@click.option("--section", "asked", multiple=True, type=click.Choice(SECTIONS), help="Measure this as well.")
@click.option("--all", "everything", is_flag=True, help="Peers, and every section.")
@click.option("--map-tasks", type=click.IntRange(min=1), default=200_000, help="Of section maps.")
@click.option("--sleep-tasks", type=click.IntRange(min=1), default=100, help="Of section sleeping, a worker.")
@click.option("--broker", type=click.Choice(list(IMAGES)), help="In a container, not that of BROKER_URL.")
@click.option("--json", "path", type=click.Path(dir_okay=False, path_type=Path), default=Path("bench.json"))
@reports_errors
def main(
    *,
    count: int,
    seconds: float,
    window: int,
    calls: int,
    peers: bool,
    only: tuple[str, ...],
    asked: tuple[str, ...],
    everything: bool,
    map_tasks: int,
    sleep_tasks: int,
    broker: str | None,
    path: Path,
) -> None:
    """Measure on the broker of BROKER_URL, else on a private node; print tables and write bench.json."""
    # Told to end, it ends its workers as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.INTERRUPTED))
    started_s = time.monotonic()
    plan = Plan(count, seconds, window, calls)
    with tempfile.TemporaryDirectory(prefix="glassrabbit-bench-") as folder:
        contestants, missing = _contestants(Path(folder), peers or everything)
        contestants = [one for one in contestants if not only or one.name in only]
        with place(Path(folder), contestants, broker) as where:
            _tell(f"RabbitMQ {where.version} at {where.where}: starting {len(contestants)} workers")
            about, raw = _about(where, plan, any(one.family == "peer" for one in contestants)), Raw()
            words = {one.name: one.configuration for one in (*contestants, *_started_only(contestants))}
            try:
                _measure(where, contestants, plan, SECTIONS if everything else asked, map_tasks, sleep_tasks, raw)
            finally:
                # What was measured before something failed is worth having, if it is anything.
                if raw.loads:
                    _report(figures(about, words, missing, raw), raw, path)
    _tell(f"{len(contestants)} contestants in {time.monotonic() - started_s:.0f} s; wrote {path}")


def _report(found: Figures, raw: Raw, path: Path) -> None:
    for table in TABLES.values():
        head, rows = table(found)
        if rows:
            print_table(head, rows)
    for line in bottleneck(found):
        print(line)
    path.write_text(json.dumps({**asdict(found), "raw": asdict(raw)}, indent=1) + "\n")


def _contestants(folder: Path, peers: bool) -> tuple[list[Contestant], dict[str, str]]:
    """Who can be had here, and why others cannot."""
    found, missing = [BARE, *OURS], dict[str, str]()
    if HAS_BATCHES:
        found += BATCHES
    if peers:
        try:
            prepare()
            found += PEER
        except (subprocess.CalledProcessError, OSError) as error:
            missing["peers"] = f"their packages could not be installed ({error})"
        try:
            found.append(c_client(build(folder)))
        except CannotBuild as error:
            missing["C client"] = str(error)
    for name, why in missing.items():
        _tell(f"without {name}: {why}")
    return found, missing


def _started_only(contestants: Sequence[Contestant]) -> list[Contestant]:
    """Who is started beside these, and does nothing else."""
    return [CELERY_AS_IT_COMES] if any(one.family == "peer" for one in contestants) else []


def _measure(
    where: Place,
    contestants: Sequence[Contestant],
    plan: Plan,
    asked: Sequence[str],
    map_tasks: int,
    sleep_tasks: int,
    raw: Raw,
) -> None:
    """Fill ``raw``."""
    with pairs(where, contestants, raw.starts) as ready:
        raw.loads.extend(rounds(where, ready, plan, lambda number: _tell(_round(number, plan.rounds))))
        rates = {pair.contestant.name: pair.tasks_per_s for pair in ready}
        if "halves" in asked:
            _tell("calls at half load")
            raw.halves.extend(sections.halves(ready, plan))
        if "workers" in asked:
            _tell("two workers each")
            raw.workers.extend(sections.two_workers(where, ready, plan))
    if "life" in asked:
        _tell("stations of a call")
        raw.life.extend(life(where, _LIFE_CALLS))
    if "starts" in asked:
        _tell("starts of workers")
        raw.starts.extend(more_starts(where, [*contestants, *_started_only(contestants)], _MORE_STARTS))
    if "one-ways" in asked:
        _tell("publishing alone, consuming alone")
        raw.one_ways.extend(sections.one_ways(where, contestants, rates, plan))
    if "maps" in asked:
        _tell(f"one map over {map_tasks} tasks")
        raw.maps.extend(sections.map_memory(where, map_tasks, plan))
    if "sleeping" in asked:
        _tell("tasks of a tenth of a second")
        raw.sleeping.extend(sections.sleeping(where, sleep_tasks))


def _about(where: Place, plan: Plan, with_peers: bool) -> About:
    installed = {"pika": version("pika"), **(versions() if with_peers else {})}
    return About(
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        rabbitmq=where.version,
        python=platform.python_version(),
        machine=platform.machine(),
        system=platform.system(),
        cores=os.cpu_count() or 1,
        prefetch=PREFETCH,
        versions={name: installed[name] for name in _PACKAGES if name in installed},
        plan=plan,
    )


def _round(number: int, count: int) -> str:
    return f"round {number} of {count}" if number else "warming up"


def _tell(text: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {text}", err=True)


if __name__ == "__main__":
    main(prog_name="python -m tests.benchmarks")
