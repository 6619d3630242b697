"""Completion of ``python -m broker`` and of ``glassrabbit``; see ``broker.commands.completion``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from broker.commands.completion import answer
from broker.console.options import enter


def main(words: Sequence[str]) -> None:
    """For ``glassrabbit``."""
    from broker.commands.glassrabbit import main as glassrabbit

    answer(glassrabbit, words)


if __name__ == "__main__":
    from broker.__main__ import main as broker

    enter(answer, broker, sys.argv[1:])
