"""A dispatcher's numbers of one moment, as data, and as families for Prometheus. Pure."""

from __future__ import annotations

import time
from dataclasses import dataclass

from broker.amqp.link import Link
from broker.amqp.traffic import Traffic
from broker.metrics import Family, publishes, single
from dispatcher.pending import PendingCalls

_DISPATCHER = "glassrabbit_dispatcher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Counts since the dispatcher was made."""

    #: Messages sent: tasks, and the same ones again after a reconnect.
    published: int
    #: Of these: accepted by a queue, returned for want of one, refused, unknown since the connection was lost.
    confirmed: int
    returned: int
    nacked: int
    lost: int
    #: Calls that ended with a reply; replies to calls that had ended; replies to ids that were never asked here.
    replies: int
    duplicates: int
    strangers: int
    #: Calls that wait now.
    in_flight: int
    #: Connections that were lost and made again.
    reconnects: int
    #: Time in which the broker took no publishes.
    blocked_s: float


def metrics_of(link: Link, pending: PendingCalls) -> Metrics:
    """Read what a dispatcher has counted."""
    traffic = link.traffic
    return Metrics(
        published=traffic.published,
        confirmed=traffic.confirmed,
        returned=traffic.returned,
        nacked=traffic.nacked,
        lost=traffic.lost,
        replies=pending.replies,
        duplicates=pending.duplicates,
        strangers=pending.strangers,
        in_flight=len(pending.calls),
        reconnects=max(0, link.generation - 1),
        blocked_s=traffic.blocked_s(time.monotonic()),
    )


def families(now: Metrics) -> list[Family]:
    """For ``broker.metrics.page``, or for a registry of one's own: ``broker.metrics.Collector``."""
    traffic = Traffic(now.published, now.confirmed, now.returned, now.nacked, now.lost)
    replies = [(("answered",), now.replies), (("duplicate",), now.duplicates), (("stranger",), now.strangers)]
    return [
        *publishes(_DISPATCHER, traffic),
        Family(
            f"{_DISPATCHER}_replies",
            "counter",
            "Replies: to a call that waited, to one that had ended, to none of ours.",
            replies,
            ("kind",),
        ),
        single(f"{_DISPATCHER}_in_flight", "gauge", "Calls that wait now.", now.in_flight),
        single(
            f"{_DISPATCHER}_reconnects", "counter", "Connections that were lost and made again.", now.reconnects
        ),
        single(
            f"{_DISPATCHER}_blocked_seconds",
            "counter",
            "Time in which the broker took no publishes.",
            now.blocked_s,
        ),
    ]


def line(now: Metrics) -> str:
    """All of it for a person, in one line."""
    return (
        f"published {now.published}: confirmed {now.confirmed}, returned {now.returned}, nacked {now.nacked}, "
        f"lost {now.lost}; replies {now.replies}, duplicates {now.duplicates}, strangers {now.strangers}; "
        f"in flight {now.in_flight}; reconnects {now.reconnects}, blocked {now.blocked_s:.1f} s"
    )
