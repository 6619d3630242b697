"""Which deliveries were acked, whatever frames said so: one frame may settle many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from tests.support.frames import Event


def acked(log: Iterable[Event]) -> list[Event]:
    """The deliveries that acks have settled, in the order of these. The log must hold whole connections."""
    unsettled: dict[tuple[int, int], dict[int, Event]] = defaultdict(dict)
    found: list[Event] = []
    for event in log:
        tags = unsettled[event.connection, event.channel]
        if event.kind == "deliver":
            tags[event.tag] = event
        elif event.kind in ("ack", "nack", "reject"):
            settled = [tags.pop(tag) for tag in covered(event, tags)]
            found += settled if event.kind == "ack" else []
    return found


def covered(event: Event, tags: Iterable[int]) -> list[int]:
    """Those of the tags that an ack or nack settles."""
    return [tag for tag in tags if tag == event.tag or (event.multiple and tag <= event.tag)]
