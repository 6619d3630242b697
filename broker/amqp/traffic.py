"""What became of all that one link published, over its generations, and how long it was blocked. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """Counts of messages. What is neither accepted, refused nor lost is still unconfirmed."""

    published: int = 0
    #: Accepted: confirmed and not returned.
    confirmed: int = 0
    #: No queue was bound.
    returned: int = 0
    #: A queue was full, or had no leader.
    nacked: int = 0
    #: The channel ended before the confirm.
    lost: int = 0
    _blocked_s: float = 0.0
    _blocked_since_s: float | None = None

    def note_blocked(self, blocked: bool, now_s: float) -> None:
        """Whether the broker takes no publishes, from now on. Idempotent."""
        if blocked is (self._blocked_since_s is not None):
            return
        if self._blocked_since_s is not None:
            self._blocked_s += now_s - self._blocked_since_s
        self._blocked_since_s = now_s if blocked else None

    def blocked_s(self, now_s: float) -> float:
        """Seconds that it was blocked, up to now."""
        since_s = now_s if self._blocked_since_s is None else self._blocked_since_s
        return self._blocked_s + now_s - since_s
