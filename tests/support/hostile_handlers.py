"""Handlers that do what a hostile publisher wants."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn


def raise_text(text: str, secret: str = "") -> NoReturn:
    """Raise an exception of this text; it was raised from another one, and a local variable holds a secret."""
    local = f"local {secret}"
    try:
        raise ValueError(local)
    except ValueError as error:
        raise RuntimeError(text) from error


def environment() -> dict[str, str]:
    """What a handler finds in its process's environment."""
    return dict(os.environ)


def own_memory(needle: str) -> int:
    """How often the two halves of ``needle``, joined, stand in what a core of this process would hold.

    ``needle`` comes in two halves that are never joined here, so that asking does not put it there.
    """
    first, second = (half.encode() for half in needle.split("|"))
    found = 0
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:
        for line in Path("/proc/self/maps").read_text().splitlines():
            area, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            start, end = (int(bound, 16) for bound in area.split("-"))
            try:
                memory.seek(start)
                held = memory.read(end - start)
            except OSError:
                continue
            at = held.find(first)
            while at >= 0:
                found += held[at + len(first) : at + len(first) + len(second)] == second
                at = held.find(first, at + 1)
    return found
