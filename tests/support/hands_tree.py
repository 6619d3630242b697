"""Every command that there is, from the click trees, and few rows in which every two choices meet."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

import click

from broker.__main__ import main as broker
from dispatcher.__main__ import main as dispatcher
from worker.__main__ import COMMANDS
from worker.__main__ import main as worker

_TRIES = 20


def commands() -> list[str]:
    """Each command as one types it behind ``python -m``, without its options; groups that only group left out."""
    found = [*_below("broker", broker), *_below("dispatcher", dispatcher), *_below("worker", worker)]
    return [*found, *(f"worker {name}" for name in COMMANDS)]


def _below(name: str, command: click.Command) -> Iterator[str]:
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield name
    if isinstance(command, click.Group):
        for further, below in command.commands.items():
            yield from _below(f"{name} {further}", below)


def pairwise(choices: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Rows of one choice each, always the same, so that every two choices of different kinds share a row."""
    chance = random.Random(0)
    missing = {
        pair
        for (one, left), (other, right) in itertools.combinations(enumerate(choices), 2)
        for pair in itertools.product(((one, choice) for choice in left), ((other, choice) for choice in right))
    }
    rows = []
    while missing:
        wanted = min(missing)
        tries = []
        for _ in range(_TRIES):
            row = [chance.choice(kind) for kind in choices]
            for place, choice in wanted:
                row[place] = choice
            tries.append(tuple(row))
        best = max(tries, key=lambda row: len(missing.intersection(itertools.combinations(enumerate(row), 2))))
        missing.difference_update(itertools.combinations(enumerate(best), 2))
        rows.append(best)
    return rows
