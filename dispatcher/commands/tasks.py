"""What the commands of ``python -m dispatcher`` do: between a dispatcher and the lines that a shell sees."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import click

from broker.config.settings import Settings
from broker.console.json_text import dumps
from broker.console.tables import print_table
from dispatcher.client import Dispatcher
from dispatcher.commands.printing import Printer, Progress
from dispatcher.commands.workload import HEAD, code_of, send, task_map
from dispatcher.errors import TaskFailed
from dispatcher.json_lines import ended_line, lines_of, read_object, result_text
from dispatcher.metrics import line
from dispatcher.pace import Batch
from protocol.errors import ExitCode, worst

log = logging.getLogger("glassrabbit.dispatcher")


@asynccontextmanager
async def opened(settings: Settings, timeout_s: float) -> AsyncIterator[tuple[Dispatcher, Callable[[], float]]]:
    """A dispatcher, and how much is left of a command's time."""
    deadline_s, dispatcher = time.monotonic() + timeout_s, Dispatcher(settings)
    await dispatcher.open(timeout_s)
    try:
        yield dispatcher, lambda: max(0.1, deadline_s - time.monotonic())
    finally:
        await dispatcher.close()


async def run_workload(settings: Settings, timeout_s: float, output: str) -> ExitCode:
    """Send the workload; print its table, or JSON."""
    total = sum(item.count for item in settings.workload)
    async with opened(settings, timeout_s) as (dispatcher, left_s):
        with Progress(total) as progress:
            report = await send(dispatcher, settings.workload, left_s(), lambda _sent: progress.advance())
    match output:
        case "json":
            click.echo(dumps(report.to_map(), indent=2))
        case "jsonl":
            for sent in report.sent:
                click.echo(dumps(task_map(sent)))
        case _:
            print_table(HEAD, report.rows(), tabs=output == "plain")
    click.echo(report.summary, err=output != "table")
    return report.exit_code


async def call(
    settings: Settings,
    task: str,
    arguments: Mapping[str, Any],
    *,
    timeout_s: float,
    delay_s: float,
    expires_s: float | None,
    output: str,
) -> ExitCode:
    """One task: its result, or with JSON output its whole reply. Raises ``TaskFailed``."""
    async with opened(settings, timeout_s) as (dispatcher, left_s):
        reply = await dispatcher.ask(task, arguments, timeout_s=left_s(), delay_s=delay_s, expires_s=expires_s)
    if output in ("json", "jsonl"):
        click.echo(dumps(reply.to_map(), indent=2 if output == "json" else None))
    elif reply.failure is None:
        click.echo(result_text(reply.result, plain=output == "plain"))
    if reply.failure is not None:
        raise TaskFailed(reply)
    return ExitCode.OK


async def map_lines(
    settings: Settings,
    task: str,
    source: str,
    *,
    window: int | None,
    timeout_s: float,
    batch: Batch,
    output: str,
    verbose: bool = False,
) -> ExitCode:
    """One JSON object a line in, one reply out, in order of completion.

    ``verbose``: and at the end, whatever it is, a line of the log with the dispatcher's numbers.
    """
    codes = {ExitCode.OK}
    async with Printer(output) as printer, opened(settings, timeout_s) as (dispatcher, _left_s):
        try:
            with Progress(None) as progress:
                async for chunk in dispatcher.map_chunks(
                    lines_of(source), task, read=read_object, window=window, timeout_s=timeout_s, batch=batch
                ):
                    await printer.put(map(ended_line, chunk))
                    codes.update(code_of(ended.end) for ended in chunk)
                    progress.advance(len(chunk))
        finally:
            if verbose:
                log.info("%s", line(dispatcher.metrics))
    return worst(list(codes))


async def submit(
    settings: Settings,
    task: str,
    arguments: Mapping[str, Any],
    *,
    mailbox: str | None,
    timeout_s: float,
    delay_s: float,
    expires_s: float | None,
    output: str,
) -> ExitCode:
    """Print the task's id once the broker has it."""
    async with opened(settings, timeout_s) as (dispatcher, left_s):
        task_id = await dispatcher.submit(
            task, arguments, mailbox=mailbox, timeout_s=left_s(), delay_s=delay_s, expires_s=expires_s
        )
    click.echo(dumps({"id": task_id}) if output in ("json", "jsonl") else task_id)
    return ExitCode.OK


async def collect(settings: Settings, mailbox: str, count: int | None, timeout_s: float, output: str) -> ExitCode:
    """Print replies; each is acked only after it was written."""
    codes = {ExitCode.OK}
    async with Printer(output) as printer, opened(settings, timeout_s) as (dispatcher, left_s):
        async for reply in dispatcher.collect(mailbox, count=count, timeout_s=left_s()):
            await printer.put([reply.to_map()])
            codes.add(code_of(reply))
    return worst(list(codes))
