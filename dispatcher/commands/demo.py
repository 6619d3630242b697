"""``python -m dispatcher demo``: everything once, on a broker of its own, and nothing left afterwards."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from broker.amqp.connection import Connection
from broker.amqp.once import connected
from broker.config.loader import load
from broker.config.settings import Settings, WorkItem
from broker.console.logs import configure
from broker.console.tables import print_table
from broker.dead_letters.queue import Letter, held, read_letter
from broker.errors import AccessRefused, Unreachable
from broker.management import Management
from broker.topology.declare import is_declared, remove
from broker.topology.model import topology_of
from dispatcher.client import Dispatcher
from dispatcher.commands.workload import HEAD, send
from dispatcher.load_ab.workers import Workers
from protocol.errors import ExitCode, GlassrabbitError
from protocol.limits import Limits
from protocol.names import dead_queue
from protocol.reply import Reply

#: The demo's own configuration: a backoff that a person can wait for.
CONFIG = """\
queues: {queue_a: {}, queue_b: {}}
tasks:
  task_a: {queue: queue_a, handler: "worker.tasks:task_a"}
  task_b: {queue: queue_b, handler: "worker.tasks:task_b"}
defaults: {retry: {max_retries: 3, backoff_s: [0.5, 1, 2], jitter: 0.1}}
worker: {concurrency: 2, grace_s: 5}
"""
WORKLOAD = (WorkItem(task="task_a", count=6), WorkItem(task="task_b", count=4))
READY_TIMEOUT_S = 30.0


class DemoFailed(GlassrabbitError):
    """A part of the demo did not do what it promises; its output is above."""


def run() -> ExitCode:
    """Tell the story. Whatever ends it, Ctrl-C and SIGTERM included, everything it started is ended."""
    configure()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="glassrabbit-demo-")))
        config = folder / "config.yml"
        config.write_text(CONFIG)
        place = _place_at(load(config)) if os.environ.get("BROKER_URL") else _private_node()
        environment = {**os.environ, "BROKER_URL": stack.enter_context(place)}
        asyncio.run(_with_workers(config, environment))
    _say("everything is stopped and removed")
    return ExitCode.OK


@contextmanager
def _private_node() -> Iterator[str]:
    from broker.node.local import private_node

    _say("starting a private RabbitMQ on free loopback ports")
    started = time.monotonic()
    with private_node() as node:
        _say(f"RabbitMQ answers at {node.info.redacted_url} after {time.monotonic() - started:.1f} s")
        yield node.info.url


@contextmanager
def _place_at(settings: Settings) -> Iterator[str]:
    """A vhost of its own on BROKER_URL's broker; else its vhost, if that has no topology yet.

    Both are left as they were: the demo's workers must never meet a task of somebody else's.
    """
    endpoint = settings.broker.endpoints[0]
    api = Management.of(settings.broker)
    name = f"glassrabbit-demo-{secrets.token_hex(4)}"
    try:
        api.add_vhost(name)
    except (Unreachable, AccessRefused):
        _say(f"using {endpoint} (BROKER_URL), whose vhost has to be without a topology")
        asyncio.run(_in_vhost(settings, _refuse_topology))
        try:
            yield endpoint.secret_url
        finally:
            asyncio.run(_in_vhost(settings, lambda connection: remove(connection, topology_of(settings))))
        return
    _say(f"using {endpoint} (BROKER_URL) with a vhost of its own, {name}")
    try:
        yield replace(endpoint, vhost=name).secret_url
    finally:
        api.remove_vhost(name)


async def _in_vhost(settings: Settings, step: Callable[[Connection], Awaitable[None]]) -> None:
    await connected(settings, "demo", step, timeout_s=READY_TIMEOUT_S)


async def _refuse_topology(connection: Connection) -> None:
    if await is_declared(connection):
        raise DemoFailed(
            f"{connection.where} has a topology already, and may have tasks. The demo needs a vhost of its own: "
            "unset BROKER_URL for a private node, or set broker.management_url and a user who may make a vhost."
        )


async def _with_workers(config: Path, environment: dict[str, str]) -> None:
    settings = load(config, environment)
    async with AsyncExitStack() as stack:
        for queue in settings.queues:
            workers = Workers(1, [queue], str(config), environment, settings.worker.grace_s)
            stack.push_async_callback(workers.stop)
            await workers.start()
            _say(f"worker for {queue}: {' '.join(workers.ready)}")
        await _story(settings)
        _say("stopping the workers and the broker")


async def _story(settings: Settings) -> None:
    async with Dispatcher(settings) as dispatcher:
        _title("1. task_a and task_b at the same time, each on its own worker")
        report = await send(dispatcher, WORKLOAD, timeout_s=60)
        print_table(HEAD, report.rows())
        click.echo(report.summary)
        _expect(report.exit_code is ExitCode.OK, "not every task was done")

        _title("2. a task that fails twice and comes back through the delay line")
        started = time.monotonic()
        reply = await dispatcher.ask("task_a", {"fail_times": 2}, timeout_s=60)
        _expect(reply.failure is None and reply.run.attempts == 3, "the third attempt should have worked")
        click.echo(
            f"done at attempt {reply.run.attempts}, {time.monotonic() - started:.2f} s after it was sent "
            "(it waited 0.5 s and 1 s, each up to a tenth longer, in steps of 0.1 s)"
        )

        _title("3. a task that fails for good and ends in queue_a.dead, with its history")
        failed = await dispatcher.ask("task_a", {"fail_times": 99}, timeout_s=60)
        _print_failure(failed, await _take_letter(settings, failed), settings.limits.messages)


async def _take_letter(settings: Settings, failed: Reply) -> Letter:
    """Out of its queue; the others stay where they are."""
    found: list[Letter] = []

    def see(letter: Letter) -> None:
        if letter.id == failed.id:
            found.append(letter)

    async def take(connection: Connection) -> None:
        async with held(connection, dead_queue("queue_a"), see) as looked:
            for letter in found:
                looked.ack(letter.tag)

    await connected(settings, "letters", take, timeout_s=READY_TIMEOUT_S)
    _expect(failed.failure is not None and bool(found), "there should be a dead letter")
    return found[0]


def _print_failure(failed: Reply, letter: Letter, limits: Limits) -> None:
    assert failed.failure is not None
    click.echo(f"the caller got: {failed.failure.code} ({failed.failure.text})")
    click.echo(f"the letter in queue_a.dead: task {letter.id}, reason {letter.reason.code}, arguments kept")
    rows: list[Sequence[Any]] = [
        (
            entry.attempt,
            entry.error,
            entry.text,
            entry.worker,
            f"{entry.ran_ms / 1000:.2f} s",
            f"{entry.retry_in_ms / 1000:.1f} s" if entry.retry_in_ms else "none",
        )
        for entry in read_letter(letter, limits).history
    ]
    print_table(("attempt", "error", "text", "worker", "ran", "retry in"), rows)


def _expect(held: bool, text: str) -> None:
    if not held:
        raise DemoFailed(f"the demo did not go as it should: {text}")


def _title(text: str) -> None:
    click.echo(f"\n{text}")


def _say(text: str) -> None:
    click.echo(text, err=True)
