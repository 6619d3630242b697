"""When a task is too late to be run."""

from __future__ import annotations

#: A task may be this much past its time before it is buried: clocks differ.
EXPIRY_SLACK_MS = 2000


def is_expired(expires_at: int, now_ms: int) -> bool:
    """``expires_at`` is 0 for a task that never expires. Both are epoch milliseconds."""
    return expires_at > 0 and now_ms > expires_at + EXPIRY_SLACK_MS
