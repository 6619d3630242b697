"""What scaling needs of workers, wherever they run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

#: Unacked deliveries of workers, by host and process id.
Held = Mapping[tuple[str, int], int]


class Workers(Protocol):
    """The workers of each queue: processes (``Pool``) or ``Containers``."""

    @property
    def at_stop(self) -> str:
        """What ``stop`` does, for the log."""

    def count(self, queue: str) -> int:
        """Workers that the queue is to have; those that leave do not count."""

    def want(self, queue: str, count: int, held: Held | None = None) -> None:
        """Start workers, or let some leave that finish what they run: those that hold least."""

    async def refresh(self) -> None:
        """See how many there are, if others can change that."""

    async def roll(self) -> None:
        """Replace each by a new one."""

    async def stop(self) -> None:
        """Let them go."""

    def abort(self) -> None:
        """Have ``stop`` end at once."""
