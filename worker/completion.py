"""Completion of ``python -m worker``; see ``broker.completion``."""

from __future__ import annotations

from broker.completion import answer
from worker.__main__ import main

if __name__ == "__main__":
    answer(main)
