"""What may come next on a command line of ours: one line for each word, its kind, itself and what it is.

The scripts of ``completion_scripts`` ask this at each Tab, as ``python -m PACKAGE.completion WORD BEFORE…`` or
``glassrabbit broker.completion WORD BEFORE…``.
It is not ``python -m PACKAGE`` that they ask: another project may have a ``worker``, too, and no Tab may start it.
"""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.shell_completion import ShellComplete, split_arg_string


def offers(command: click.Command, incomplete: str, before: Sequence[str]) -> list[str]:
    """``before``: what stands between the command and the word that is being written, quoted or not."""
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


def answer(command: click.Command, words: Sequence[str]) -> None:
    """Print what fits the word that is being written, which is the first of ``words``, and those before it."""
    for line in offers(command, words[0], words[1:]):
        click.echo(line)
