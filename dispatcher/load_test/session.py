"""One load test from its options to its exit code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from broker.console.escaping import plain
from broker.console.json_text import dumps
from broker.console.options import configured
from dispatcher.json_lines import BadLine, arguments_of, read_object
from dispatcher.load_test.plan import Plan, in_progress, parts_of
from dispatcher.load_test.run import run_load
from dispatcher.load_test.text import print_run
from dispatcher.load_test.threshold import Threshold, threshold_of
from dispatcher.pace import Batch
from protocol.errors import ExitCode, worst

_COUNT = 1000


def run_session(
    config: str | None,
    *,
    count: int | None,
    duration: float | None,
    rate: float | None,
    window: int | None,
    tasks: Sequence[str],
    pairs: Sequence[str],
    text: str | None,
    failing: float,
    failing_with: str,
    batch: Batch,
    collect: str,
    timeout_s: float,
    thresholds: Sequence[str],
    out: str | None,
    output: str,
) -> ExitCode:
    """Raises ``click.UsageError`` and ``OSError`` for what cannot be read or written, before anything is sent."""
    settings = configured(config)
    window, batch = in_progress(collect, window, batch, settings.limits.messages, is_open=rate is not None)
    try:
        rules, parts = [threshold_of(one) for one in thresholds], parts_of(tasks or ("noop",))
        arguments, further = arguments_of(pairs, text), read_object(failing_with)
    except (BadLine, ValueError) as error:
        raise click.UsageError(str(error)) from error
    if out is not None:
        Path(out).open("a").close()
    plan = Plan(
        parts=parts,
        arguments=arguments,
        count=_COUNT if count is None and duration is None else count,
        duration_s=duration,
        rate=rate,
        window=window,
        batch=batch,
        timeout_s=timeout_s,
        collect=collect,
        failing=failing,
        failing_with=further,
    )
    run = asyncio.run(run_load(settings, plan, report))
    if out is not None:
        Path(out).write_text(json.dumps(run, indent=1) + "\n")
    if output == "json":
        click.echo(dumps(run, indent=2))
    else:
        print_run(run)
    return worst([code_of(run), *(_judged(rule, run) for rule in rules)])


def _judged(rule: Threshold, run: dict[str, Any]) -> ExitCode:
    holds = rule.holds(run)
    report(f"threshold {rule.text}: {'held' if holds else 'missed'} ({rule.seen(run):g})")
    return ExitCode.OK if holds else ExitCode.FAILED


def code_of(run: Mapping[str, Any]) -> ExitCode:
    """What a run comes to that had tasks without an answer."""
    tasks = run["tasks"]
    if tasks["returned"]:
        return ExitCode.UNROUTABLE
    return ExitCode.TIMED_OUT if tasks["lost"] else ExitCode.FAILED if tasks["refused"] else ExitCode.OK


def report(line: str) -> None:
    """Write a line to standard error."""
    click.echo(plain(line), err=True)
