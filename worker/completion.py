"""Completion of ``python -m worker``; see ``broker.commands.completion``."""

from __future__ import annotations

import sys

from broker.commands.completion import answer
from worker.__main__ import main

if __name__ == "__main__":
    answer(main, sys.argv[1:])
