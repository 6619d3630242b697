"""``broker up`` and ``broker down``: a private RabbitMQ from the shell.

A detached node is held by a process of its own, which has a lock for as long as it lives. A process that
gets that lock knows that nothing runs; a process id would not do, since the kernel uses them again.
Imports of weight wait until a command runs, so that ``--help`` stays quick.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker.console.start import command
from broker.node.state import state_file, state_folder
from protocol.errors import ExitCode

if TYPE_CHECKING:
    from broker.node.local import NodeInfo

_END_S = 15.0
_POLL_S = 0.05

_port = click.option("--port", type=click.IntRange(1, 65535), help="AMQP port; a free one if not given.")
_bind = click.option(
    "--bind",
    metavar="ADDRESS",
    help="Listen for AMQP on ADDRESS, with a user and a generated password. All else stays on loopback.",
)


@click.command()
@_port
@_bind
@click.option("--detach", is_flag=True, help="Leave it running; end it with 'down'.")
def up(port: int | None, bind: str | None, detach: bool) -> None:
    """Start a private RabbitMQ and print its URL.

    It is the rabbitmq-server of this machine if there is one, else a container. It listens on loopback
    only, and it is removed with all its data on Ctrl-C or SIGTERM (exit 0), or by 'down'. One that is left
    running is there for the next 'up --detach' too. Exit 69: it could not be had.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if detach:
        _detach(port, bind)
    else:
        _hold_in_foreground(port, bind)


@click.command()
def down() -> None:
    """End the private RabbitMQ that 'up --detach' left running, and remove its data.

    Exit 0 too if none is running, since that is what was asked for.
    """
    with _lock() as free:
        if free:
            state_file().unlink(missing_ok=True)
            click.echo("no detached broker is running", err=True)
            return
    _end_holder()
    click.echo("the detached broker is gone, and its data with it", err=True)


@click.command(hidden=True)
@_port
@_bind
def main(port: int | None, bind: str | None) -> None:
    """What 'up --detach' starts: keeps the node, its lock and its state file until SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _lock() as free:
        if not free:
            raise _failed("another detached broker is just starting; run 'down' first")
        state = state_file()
        state.unlink(missing_ok=True)

        def ready(info: NodeInfo) -> None:
            _write_state(state, info)
            click.echo(info.url)
            _let_go_of_terminal()

        try:
            _serve(port, bind, ready)
        finally:
            state.unlink(missing_ok=True)


def _hold_in_foreground(port: int | None, bind: str | None) -> None:
    def ready(info: NodeInfo) -> None:
        click.echo(info.url)
        click.echo(f"management: {info.management_url} (the same user); Ctrl-C ends and removes it", err=True)
        if bind in ("0.0.0.0", "::"):
            click.echo("from another machine: the same URL with this machine's name as the host", err=True)

    _serve(port, bind, ready)


def _serve(port: int | None, bind: str | None, ready: Callable[[NodeInfo], None]) -> None:
    """Start a node, call ``ready`` once, and wait for its end or for a signal."""
    from broker.node.local import NodeError, private_node

    click.echo("starting a private RabbitMQ, about 5 seconds", err=True)
    try:
        with private_node(port=port, bind=bind) as node:
            # From here on a signal is the ordinary way to end, and not an interruption.
            with suppress(KeyboardInterrupt):
                ready(node.info)
                node.wait()
                raise _failed("the private broker ended by itself; start it again")
            click.echo("ending the private RabbitMQ", err=True)
    except NodeError as error:
        raise _failed(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(ExitCode.INTERRUPTED) from None


def _detach(port: int | None, bind: str | None) -> None:
    with _lock() as free:
        running = None if free else _await_state()
    if running is not None:
        if port or bind:
            raise _failed(f"a detached broker is running already: {running['url']}\nuse it, or end it with 'down'")
        click.echo(running["url"])
        click.echo("it was running already, and runs until 'python -m broker down'", err=True)
        return
    options = [f"--port={port}"] if port else []
    options += [f"--bind={bind}"] if bind else []
    holder = subprocess.Popen(
        command("broker.commands.node", *options),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert holder.stdout is not None
    try:
        url = holder.stdout.readline().strip()
    except KeyboardInterrupt:
        holder.terminate()
        holder.wait()
        raise SystemExit(ExitCode.INTERRUPTED) from None
    if not url:
        raise SystemExit(holder.wait())
    click.echo(url)
    click.echo("it runs until 'python -m broker down'", err=True)


def _end_holder() -> None:
    """SIGTERM to the process that holds the lock, SIGKILL if it does not end; its guard then cleans up."""
    pid = int(str(_await_state()["pid"]))
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + _END_S
        while time.monotonic() < deadline:
            with _lock() as free:
                if free:
                    return
            time.sleep(_POLL_S)
    raise _failed(f"process {pid} does not end; end it yourself")


def _await_state() -> dict[str, object]:
    """What the holder wrote; it is there as soon as its node is ready."""
    deadline = time.monotonic() + _END_S
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError, json.JSONDecodeError):
            state: dict[str, object] = json.loads(state_file().read_text())
            return state
        time.sleep(_POLL_S)
    raise _failed("a detached broker is just starting; try again in a few seconds")


def _write_state(path: Path, info: NodeInfo) -> None:
    from broker.node.files import write_secret

    state = {"pid": os.getpid(), "url": info.url, "management_url": info.management_url}
    write_secret(path, json.dumps(state) + "\n", 0o600)


def _folder() -> Path:
    """Where one user's detached node is noted; made if it is not there."""
    folder = state_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _failed(
            f"cannot make {folder} ({error.strerror}); set XDG_STATE_HOME to a folder of yours"
        ) from None
    return folder


@contextmanager
def _lock() -> Iterator[bool]:
    """The lock of the detached node: False if another process has it."""
    with (_folder() / "node.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _let_go_of_terminal() -> None:
    """So that the shell that started us can end, and what reads its output sees the end of it."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    sys.stdout.flush()
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def _failed(text: str) -> SystemExit:
    click.echo(text, err=True)
    return SystemExit(ExitCode.UNAVAILABLE)
