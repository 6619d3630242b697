"""Completion of ``python -m dispatcher``; see ``broker.commands.completion``."""

from __future__ import annotations

import sys

from broker.commands.completion import answer
from broker.console.options import enter
from dispatcher.__main__ import main

if __name__ == "__main__":
    enter(answer, main, sys.argv[1:])
