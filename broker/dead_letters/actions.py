"""What the commands of ``python -m broker dead`` do, between the broker and the lines that a shell sees.

Letters are held only while they are read. Printing, which may wait for a pager, comes after that.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import click

from broker.amqp.connection import Connection
from broker.console.json_text import dumps
from broker.console.tables import print_table
from broker.dead_letters.filter import Chosen
from broker.dead_letters.queue import MOST, Held, Letter, held
from broker.dead_letters.spool import Spool
from broker.dead_letters.text import HEAD, LINE, cell, description, detail, row, summary, whole
from broker.dead_letters.transfer import Report, Transfer, transfer
from protocol.errors import ExitCode, worst

#: Rows that are aligned with one another; a longer table has its head again.
_ROWS = 1000


#: Calls back with an open connection, by the command's deadline: ``broker.amqp.once.connected`` of one command.
#: What is below raises what that does, and what ``held`` does.
Look = Callable[[Callable[[Connection], Awaitable[Any]]], Awaitable[Any]]


async def list_letters(look: Look, queues: Sequence[str], chosen: Chosen, output: str) -> None:
    """Print a line for each letter."""
    match output:
        case "table":
            await _print(look, queues, chosen, row, _print_tables)
        case "plain":
            await _print(look, queues, chosen, lambda letter: "\t".join(row(letter, LINE)), _print_lines)
        case _:
            await _print_json(look, queues, chosen, summary, output)


async def show_letters(look: Look, queues: Sequence[str], chosen: Chosen, output: str) -> None:
    """Print what a person wants to know of each letter."""
    if output in ("table", "plain"):
        await _print(look, queues, chosen, lambda letter: description(letter, chosen.limits) + "\n", _print_lines)
    else:
        await _print_json(look, queues, chosen, lambda letter: detail(letter, chosen.limits), output)


async def export_letters(look: Look, queues: Sequence[str], chosen: Chosen, output: str) -> None:
    """Print letters whole, as JSON."""
    await _print_json(look, queues, chosen, lambda letter: whole(letter, chosen.limits), output)


async def transfer_letters(
    look: Look, queues: Sequence[str], asked: Transfer, output: str, bound: Callable[[], Collection[str]]
) -> ExitCode:
    """Send letters on, queue by queue, and say what became of them, also when it ends early.

    ``bound``: for a dry run, the routing keys that a queue is bound for.
    """
    reports = {queue: Report(queue=queue) for queue in queues}

    async def one(connection: Connection, queue: str) -> None:
        how = replace(asked, bound=await asyncio.to_thread(bound)) if asked.dry_run else asked
        await transfer(connection, queue, how, reports[queue])

    try:
        await _each(look, queues, one)
    finally:
        if looked := [report for report in reports.values() if report.looked]:
            _print_reports(looked, asked, output)
    return worst([report.exit_code for report in reports.values()])


async def count_letters(look: Look, queues: Sequence[str], chosen: Chosen) -> dict[str, int]:
    """How many letters of each queue are chosen."""
    counts = dict.fromkeys(queues, 0)

    def see(letter: Letter) -> None:
        counts[letter.queue] += chosen(letter)

    await _look_at(look, queues, see)
    return counts


async def purge_letters(look: Look, counts: dict[str, int], chosen: Chosen) -> dict[str, int]:
    """Remove the chosen letters of each queue for good, never more than its count; how many."""
    purged = dict.fromkeys(counts, 0)

    async def one(connection: Connection, queue: str) -> None:
        tags, few = list[int](), chosen.again(counts[queue])
        async with held(connection, queue, lambda letter: tags.extend([letter.tag] * few(letter))) as looked:
            for tag in tags:
                looked.ack(tag)
        purged[queue] = len(tags)

    await _each(look, [queue for queue, count in counts.items() if count], one)
    return purged


def print_counts(counts: Mapping[str, int | None], output: str, word: str) -> None:
    """A number of messages for each queue; None: nobody knows."""
    match output:
        case "json":
            click.echo(dumps([{"queue": queue, word: count} for queue, count in counts.items()], indent=2))
        case "jsonl":
            for queue, count in counts.items():
                click.echo(dumps({"queue": queue, word: count}))
        case _:
            rows = [(queue, "?" if count is None else count) for queue, count in counts.items()]
            print_table(["queue", word], rows, tabs=output == "plain")


async def _look_at(look: Look, queues: Sequence[str], see: Callable[[Letter], None]) -> None:
    async def one(connection: Connection, queue: str) -> None:
        async with held(connection, queue, see) as looked:
            pass
        _note(queue, looked)

    await _each(look, queues, one)


async def _each(look: Look, queues: Sequence[str], one: Callable[[Connection, str], Awaitable[None]]) -> None:
    """One after the other; called back once more, from where that ended."""
    left = list(queues)

    async def work(connection: Connection) -> None:
        while left:
            await one(connection, left[0])
            del left[0]

    await look(work)


def _note(queue: str, looked: Held | Report) -> None:
    if looked.unseen:
        click.echo(
            f"note: {queue} has {looked.unseen} messages beyond the first {MOST}, as many as can be seen. "
            "See to some of these first.",
            err=True,
        )
    if looked.others:
        click.echo(
            f"note: {queue} has another reader ({looked.others}); what it holds was not seen.",
            err=True,
        )


async def _print(
    look: Look,
    queues: Sequence[str],
    chosen: Chosen,
    render: Callable[[Letter], object],
    show: Callable[[Spool], None],
) -> None:
    with closing(Spool()) as spool:
        await _look_at(look, queues, lambda letter: spool.put(render(letter)) if chosen(letter) else None)
        show(spool)
    if not chosen.passed:
        click.echo("no letters", err=True)
    if chosen.beyond:
        click.echo(f"{chosen.beyond} more: raise --limit", err=True)


async def _print_json(
    look: Look, queues: Sequence[str], chosen: Chosen, render: Callable[[Letter], object], output: str
) -> None:
    indent = 2 if output == "json" else None
    await _print(
        look,
        queues,
        chosen,
        lambda letter: dumps(render(letter), indent=indent),
        _print_array if output == "json" else _print_lines,
    )


def _print_tables(rows: Iterable[list[str]]) -> None:
    left = iter(rows)
    while some := list(itertools.islice(left, _ROWS)):
        print_table(HEAD, some)


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")


def _print_array(items: Iterable[str]) -> None:
    between = "[\n"
    for item in items:
        sys.stdout.write(between + item)
        between = ",\n"
    sys.stdout.write("\n]\n" if between == ",\n" else "[]\n")


def _print_reports(reports: Sequence[Report], asked: Transfer, output: str) -> None:
    to = asked.routing_key
    messages, done = ("letters", "replayed") if to is None else ("messages", "moved")
    word = f"to be {done}" if asked.dry_run else done
    match output:
        case "json":
            click.echo(dumps([_report_map(report, asked, messages, done) for report in reports], indent=2))
        case "jsonl":
            for report in reports:
                click.echo(dumps(_report_map(report, asked, messages, done)))
        case _:
            print_table(
                ["queue", messages, "meant", word, "left"],
                [(one.queue, one.messages, one.matching, one.sent, one.remaining) for one in reports],
                tabs=output == "plain",
            )
    for report in reports:
        _note(report.queue, report)
        for code, count in report.left.items():
            click.echo(f"left in {report.queue}: {count} × {code}: {cell(report.texts[code], LINE)}", err=True)
        for key, count in report.unroutable.items():
            missing = (
                f"no queue is bound for task {key}. Add the task to the configuration and run"
                if to is None
                else f"queue {key} does not exist. Run"
            )
            click.echo(f"left in {report.queue}: {count} × {missing} `python -m broker declare`.", err=True)
        for text, count in report.without.items():
            click.echo(f"{word} from {report.queue}: {count} without {text}", err=True)


def _report_map(report: Report, asked: Transfer, messages: str, done: str) -> dict[str, object]:
    return {
        "queue": report.queue,
        "dry_run": asked.dry_run,
        messages: report.messages,
        "meant": report.matching,
        done: report.sent,
        "left": dict(report.left),
        "unroutable": dict(report.unroutable),
        "without": dict(report.without),
    }
