"""What a worker reports to who watches a task, as values and as bytes. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

from protocol.codec import decode, encode
from protocol.control import LIMITS, MOST_IDS
from protocol.limits import cut
from protocol.names import are_ids
from protocol.properties import Reader, bad

_TEXT_BYTES = 1024
LATEST_MS = 10**13


class What(StrEnum):
    """What a worker saw."""

    #: It reads the record from now on; of no task.
    WATCHES = "watches"
    #: The broker handed it over. ``held``: that was before.
    DELIVERED = "delivered"
    HELD = "held"
    RUNS = "runs"
    #: The worker published: a reply, a copy or a dead letter.
    PUBLISHED = "published"
    CONFIRMED = "confirmed"
    #: The broker did not confirm it; the worker goes on trying.
    UNCONFIRMED = "unconfirmed"
    ACKED = "acked"
    GIVEN_BACK = "given_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """``number``: of those that this worker reports by one record, from 1. Times are epoch milliseconds."""

    number: int
    worker: str
    what: What
    at: int
    ids: tuple[str, ...] = ()
    task: str = ""
    queue: str = ""
    #: That the message came by, or that it was published to. No key: a direct reply address.
    exchange: str = ""
    key: str = ""
    tag: int = 0
    redelivered: int = 0
    #: Of a reply: the last one.
    attempt: int = 0
    replay: int = 0
    sent_at: int = 0
    replayed_at: int = 0
    ran_ms: int = 0
    #: How a task ended, or why it did not: ``done``, an error code, an exception's type.
    code: str = ""
    text: str = ""

    def about(self, ids: tuple[str, ...]) -> Event:
        """The same of these tasks alone."""
        return replace(self, ids=ids)


_INTEGERS = tuple(one.name for one in fields(Event) if one.type == "int")
_TEXTS = tuple(one.name for one in fields(Event) if one.type == "str")


def pack_event(event: Event) -> bytes:
    """As a body: what is 0 or empty is left out, and texts are cut."""
    values = {key: value for key, value in asdict(event).items() if value not in ("", 0, ())}
    short = {key: cut(value, _TEXT_BYTES) if isinstance(value, str) else value for key, value in values.items()}
    return encode(short, LIMITS, "event")


def read_event(body: bytes) -> Event:
    """Raises ``Malformed``."""
    table = Reader(decode(body, LIMITS), "event")
    if (what := table.text("what")) not in list(What):
        raise bad(f"event.what {cut(what, 40)!r} is not one of {', '.join(What)}")
    ids = table.array("ids", MOST_IDS)
    if not are_ids(ids):
        raise bad("event.ids must be ids")
    values: dict[str, Any] = {key: table.integer(key, 0, 0, LATEST_MS) for key in _INTEGERS}
    values |= {key: cut(table.text(key, ""), _TEXT_BYTES) for key in _TEXTS}
    return Event(**values, what=What(what), ids=tuple(map(str, ids)))
