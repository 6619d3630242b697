"""Tasks that do nothing: what is left is the cost of the way."""

from __future__ import annotations


def noop(data: str) -> None:
    """For processes and threads."""


async def noop_async(data: str) -> None:
    """For the async executor."""
