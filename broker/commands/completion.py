"""What may come next on a command line of ours: one line for each word, its kind, itself and what it is.

The scripts of ``completion_scripts`` ask this at each Tab, as ``python -m PACKAGE.completion WORD BEFORE…``.
It is not ``python -m PACKAGE`` that they ask: another project may have a ``worker``, too, and no Tab may start it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
from click.shell_completion import ShellComplete, split_arg_string


def offers(command: click.Command, incomplete: str, before: Sequence[str]) -> list[str]:
    """``before``: what stands between ``python -m PACKAGE`` and the word that is being written, quoted or not."""
    *words, last = _joined([*((split_arg_string(word) or [""])[0] for word in before), incomplete])
    found = ShellComplete(command, {}, "", "").get_completions(words, last)
    return [f"{item.type}\t{item.value}\t{item.help or ''}" for item in found]


def _joined(words: Sequence[str]) -> list[str]:
    """Bash gives the two sides of an = as words of their own, and the = as another."""
    joined: list[str] = []
    for word in words:
        if joined and (word == "=" or joined[-1].endswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def answer(command: click.Command) -> None:
    """Print what fits the arguments of this process."""
    for line in offers(command, sys.argv[1], sys.argv[2:]):
        click.echo(line)


if __name__ == "__main__":
    from broker.__main__ import main

    answer(main)
