"""Starts a process of a campaign with a bug planted in it, if the bug is one for its role.

python -m tests.chaos.mutant NAME worker|requester|collector ARGUMENTS…
python -m tests.chaos.mutant --list

Everything else is as if the process had been started without this.
"""

from __future__ import annotations

import runpy
import sys
from typing import get_args

from broker.amqp import channel
from tests.chaos.mutants import BY_NAME, MUTANTS, Role

MODULES: dict[Role, str] = {
    "worker": "worker",
    "requester": "tests.chaos.requester",
    "collector": "tests.chaos.collector",
}


def words(name: str | None, role: Role, *arguments: str) -> list[str]:
    """What follows ``python -m`` to start a process with a bug in it, or without one."""
    return [MODULES[role], *arguments] if name is None else ["tests.chaos.mutant", name, role, *arguments]


def start(name: str, role: Role, arguments: list[str]) -> None:
    """Plant the bug and become the process."""
    mutant = BY_NAME[name]
    # An ack that waits may be overtaken by the confirm that it should have waited for.
    channel.ACK_WAIT_S = 0.0
    if mutant.role == role:
        mutant.patch()
    module = MODULES[role]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def table() -> str:
    """All bugs, one a line."""
    width = max(len(mutant.name) for mutant in MUTANTS)
    return "\n".join(
        f"{mutant.name:{width}}  {mutant.role:9}  {', '.join(sorted(mutant.caught_by)):20}  {mutant.text}"
        for mutant in MUTANTS
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--list"]:
            print(table())
        case [name, "worker" | "requester" | "collector" as role, *arguments] if name in BY_NAME:
            start(name, role, arguments)
        case _:
            sys.exit(f"python -m tests.chaos.mutant NAME {'|'.join(get_args(Role))} ARGUMENTS…, or --list")
