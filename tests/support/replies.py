"""Reading replies where every one of them is to be readable."""

from __future__ import annotations

from protocol.limits import DEFAULT_LIMITS, Limits
from protocol.reply import Reply, read_replies


def replies_in(body: bytes, limits: Limits = DEFAULT_LIMITS) -> list[Reply]:
    """The replies that a message holds, all of which can be read."""
    found = read_replies(body, limits)
    replies = [reply for reply in found if isinstance(reply, Reply)]
    assert replies == found
    return replies
