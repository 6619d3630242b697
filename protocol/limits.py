"""How much of anything a message may hold. Checked before the thing is decoded or copied."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

#: RabbitMQ's bound of ``expiration``: beyond it, it closes the channel, and every pending direct reply with it.
LONGEST_EXPIRATION_MS = 315_360_000_000


#: Bytes of replies that leave together, at most; and no more than a body may have.
JOINED_BYTES = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one message. Configurable under ``limits:``; all members of a vhost should agree on them."""

    #: Bytes of a task's body, and of a packed result.
    body_bytes: int = 1024 * 1024
    #: Bytes of the headers that a copy (retry, dead letter) carries, as AMQP encodes them.
    header_bytes: int = 32 * 1024
    #: Nested maps and arrays in a body.
    depth: int = 32
    #: Values in a body, keys included.
    nodes: int = 100_000
    #: Bytes of UTF-8 of an error's text.
    error_text_bytes: int = 1024
    #: Entries of a history: the first and the last ones are kept.
    history_entries: int = 10
    #: Tasks in a batch.
    batch_tasks: int = 1000

    @cached_property
    def for_reply(self) -> Limits:
        """A reply wraps a result of the full size in one more map."""
        return replace(
            self,
            body_bytes=self.body_bytes + self.error_text_bytes + 4096,
            depth=self.depth + 1,
            nodes=self.nodes + 32,
        )


DEFAULT_LIMITS = Limits()


def cut(text: str, limit_bytes: int) -> str:
    """``text`` shortened to at most ``limit_bytes`` of UTF-8; what UTF-8 cannot carry is escaped."""
    # Not the method of a user's own string.
    raw = str.encode(text, "utf-8", "backslashreplace")
    if len(raw) <= limit_bytes:
        return raw.decode("utf-8")
    return raw[: limit_bytes - 3].decode("utf-8", "ignore") + "…"
