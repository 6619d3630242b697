"""Every command that asks a broker and ends by itself, as people type it; and many of them side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import click

from broker.__main__ import main as broker_cli
from dispatcher.__main__ import main as dispatcher_cli
from tests.support.commands import Ended, command

#: By the path of the command: what follows it. They need an installation with a mailbox ``box``.
ASKING: dict[str, tuple[str, ...]] = {
    "broker declare": (),
    "broker diff": (),
    "broker status": (),
    "broker doctor": (),
    "broker dead list": (),
    "broker dead show": ("queue_a",),
    "broker dead export": ("queue_a",),
    "broker dead replay": ("queue_a", "--dry-run"),
    "broker dead purge": ("queue_a", "--dry-run"),
    "broker pause": ("queue_b",),
    "broker resume": ("queue_b",),
    "broker running": (),
    "broker cancel": ("0123456789abcdef0123456789abcdef",),
    "broker drain": ("vm:1",),
    "broker log-level": ("vm:1", "debug"),
    "broker peek": ("queue_a.dead",),
    "broker purge": ("tasks.lost", "--yes"),
    "broker move": ("queue_b", "queue_a", "--dry-run"),
    "dispatcher": (),
    "dispatcher call": ("echo",),
    "dispatcher map": ("echo",),
    "dispatcher submit": ("echo", "--mailbox", "box"),
    "dispatcher collect": ("box",),
    "dispatcher load": ("-n", "1", "--task", "echo"),
}
#: Commands that ask no broker, or that run until somebody ends them or what they start.
OTHERS = {
    "broker show", "broker completion", "broker config show", "broker config validate", "broker config schema",
    "broker up", "broker down", "broker wire", "broker watch", "dispatcher demo",
    "dispatcher load compare", "dispatcher load ab",
}  # fmt: skip
#: As many at a time as a machine of two processors starts without a queue.
_AT_ONCE = 5


def commands() -> set[str]:
    """The paths of all commands that there are, but for those of a worker."""
    return {*_paths("broker", broker_cli), *_paths("dispatcher", dispatcher_cli)}


def _paths(path: str, of: click.Command) -> Iterator[str]:
    if not isinstance(of, click.Group) or of.invoke_without_command:
        yield path
    if isinstance(of, click.Group):
        for name, further in of.commands.items():
            yield from _paths(f"{path} {name}", further)


def ask_all(
    environment: Mapping[str, str], timeout_s: float, names: Iterable[str] = tuple(ASKING), within_s: float = 60.0
) -> dict[str, Ended]:
    """How each of these commands ended, with so much time for the whole of it."""

    def ask(name: str) -> Ended:
        module, *words = name.split()
        stdin = "{}\n" if name == "dispatcher map" else ""
        further = (*ASKING[name], "--timeout", f"{timeout_s:g}")
        return command(environment, module, *words, *further, stdin=stdin, within_s=within_s)

    names = list(names)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(names, pool.map(ask, names), strict=True))
