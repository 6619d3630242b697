"""``load ab`` from its options to its exit code: two configurations on the same load, and which is faster."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from broker.config.loader import load
from broker.config.settings import Settings
from broker.console.json_text import dumps
from broker.console.options import configured
from broker.console.tables import print_table
from dispatcher.errors import UnknownTask
from dispatcher.json_lines import BadLine, arguments_of
from dispatcher.load_ab.run import Bench, Contender, Run, is_answered, run_rounds
from dispatcher.load_ab.sides import Side, patient, side_of
from dispatcher.load_ab.verdict import FIGURES, Compared, Figure, SideName, compared, turns
from dispatcher.load_test.plan import Part, Plan, in_progress, parts_of
from dispatcher.load_test.session import code_of, report
from dispatcher.pace import Batch
from protocol.errors import ExitCode

SCHEMA = 1
Rounds = Sequence[Mapping[SideName, Run]]


def run_ab(
    config: str | None,
    *,
    left: Sequence[str],
    right: Sequence[str],
    count: int,
    rounds: int,
    workers: int,
    rate: float | None,
    window: int | None,
    tasks: Sequence[str],
    pairs: Sequence[str],
    text: str | None,
    batch: Batch,
    timeout_s: float,
    out: str | None,
    output: str,
) -> ExitCode:
    """Raises what is wrong with options, settings and files before anything is started; what ends the rounds."""
    environ = patient(configured(config), os.environ, timeout_s)
    base = load(config, environ)
    try:
        parts, arguments = parts_of(tasks or ("noop",)), arguments_of(pairs, text)
    except (BadLine, ValueError) as error:
        raise click.UsageError(str(error)) from error
    queues = _queues_of(parts, base)
    plan = Plan(parts=parts, arguments=arguments, count=count, rate=rate, timeout_s=timeout_s)
    sides = [side_of("A", left, queues, config, environ), side_of("B", right, queues, config, environ)]

    def contender(side: Side) -> Contender:
        limits = side.settings.limits.messages
        most, size = in_progress("async", window, batch, limits, is_open=rate is not None)
        return Contender(side, replace(plan, window=most, batch=size))

    contenders = {side.name: contender(side) for side in sides}
    if out is not None:
        Path(out).open("a").close()
    for side in sides:
        report(f"{side.name}: {side.text}")
    seen = asyncio.run(run_rounds(contenders, Bench(queues, workers, rounds, config, report)))
    last = list(seen[-1].values())[-1]
    if not is_answered(last):
        return _unanswered(last)
    result = to_map(contenders, workers, seen)
    if out is not None:
        Path(out).write_text(json.dumps(result, indent=1) + "\n")
    if output == "json":
        click.echo(dumps(result, indent=2))
    else:
        print_table(
            ("figure", "A", "B", "B / A", "interval", "verdict"),
            [row(figure, one) for figure, one in zip(FIGURES, judged(seen).values(), strict=True)],
        )
    return ExitCode.OK


def judged(rounds: Rounds) -> dict[str, Compared]:
    """Every figure of whole rounds."""
    values = [(values_of(one["A"]), values_of(one["B"])) for one in rounds]
    return {
        figure.key: compared(
            [(a[figure.key], b[figure.key]) for a, b in values], more_is_faster=figure.more_is_faster
        )
        for figure in FIGURES
    }


def values_of(run: Run) -> dict[str, float]:
    """What one turn has for each figure."""
    latency = run["latency_ms"]
    return {"throughput": run["throughput"], "p50_ms": latency["p50"], "p95_ms": latency["p95"]}


def to_map(contenders: Mapping[SideName, Contender], workers: int, rounds: Rounds) -> dict[str, Any]:
    """The comparison as data: what ``--out`` writes."""
    return {
        "schema": SCHEMA,
        "workers": workers,
        "sides": {
            name: {"settings": dict(one.side.own), "plan": one.plan.to_map()} for name, one in contenders.items()
        },
        "figures": {key: one.to_map() for key, one in judged(rounds).items()},
        "rounds": [
            {
                "first": turns(number)[0],
                **{
                    name: values_of(run) | {key: run[key] for key in ("wall_s", "tasks", "workers", "errors")}
                    for name, run in sorted(one.items())
                },
            }
            for number, one in enumerate(rounds)
        ],
    }


def row(figure: Figure, one: Compared) -> tuple[str, ...]:
    """One line of the table."""
    return (
        figure.name,
        f"{one.a:.1f}{figure.unit}",
        f"{one.b:.1f}{figure.unit}",
        f"{one.ratio:.2f} ×",
        f"{one.low:.2f} to {one.high:.2f}",
        "no difference shown" if one.faster is None else f"{one.faster} is faster",
    )


def _queues_of(parts: Sequence[Part], base: Settings) -> tuple[str, ...]:
    """Raises ``UnknownTask``."""
    for part in parts:
        if part.task not in base.tasks:
            raise UnknownTask(part.task, base.tasks)
    return tuple(sorted({base.tasks[part.task].queue for part in parts}))


def _unanswered(run: Run) -> ExitCode:
    tasks = run["tasks"]
    report(
        f"no comparison: in the last turn {tasks['returned']} tasks were returned, {tasks['refused']} refused, "
        f"{tasks['lost']} lost ({', '.join(run['errors']) or 'without an error'})"
    )
    return code_of(run)
