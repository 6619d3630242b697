"""Completion of ``python -m worker``; see ``broker.commands.completion``."""

from __future__ import annotations

import sys

from broker.commands.completion import answer
from broker.console.options import enter
from worker.__main__ import main

if __name__ == "__main__":
    enter(answer, main, sys.argv[1:])
