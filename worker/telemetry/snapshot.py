"""A worker's numbers of one moment, as families of metrics. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.amqp.traffic import Traffic
from broker.metrics import Family, publishes, single

_WORKER = "glassrabbit_worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What there is to know of a worker now, beside what its ``Meter`` counted."""

    identity: str
    #: Work queue → prefetch.
    prefetch: Mapping[str, int]
    is_ready: bool
    busy: int
    concurrency: int
    unacked: int
    #: Messages that their next hop does not take at present.
    refused: int
    obituaries: int
    child_restarts: int
    #: Link (consume, publish) → connections that were lost and made again.
    reconnects: Mapping[str, int]
    traffic: Traffic
    blocked_s: float
    metered: Sequence[Family]


def families(now: Snapshot) -> list[Family]:
    """All of it, in the order of the page."""
    queues = ",".join(now.prefetch)
    return [
        Family(f"{_WORKER}_info", "gauge", "Always 1.", [((now.identity, queues), 1)], ("worker", "queues")),
        single(f"{_WORKER}_ready", "gauge", "1 if it consumes and can publish, else 0.", now.is_ready),
        *now.metered,
        single(
            f"{_WORKER}_obituaries",
            "counter",
            "Requesters that got the failure of a buried task.",
            now.obituaries,
        ),
        single(f"{_WORKER}_busy", "gauge", "Tasks that run now.", now.busy),
        single(f"{_WORKER}_concurrency", "gauge", "Tasks that may run at a time.", now.concurrency),
        Family(
            f"{_WORKER}_prefetch",
            "gauge",
            "Deliveries of a queue that it holds at most.",
            [((queue,), count) for queue, count in now.prefetch.items()],
            ("queue",),
        ),
        single(f"{_WORKER}_unacked", "gauge", "Deliveries that it holds, obituaries included.", now.unacked),
        single(
            f"{_WORKER}_refused", "gauge", "Messages that their next hop does not take at present.", now.refused
        ),
        single(
            f"{_WORKER}_child_restarts", "counter", "Children that ended and were replaced.", now.child_restarts
        ),
        Family(
            f"{_WORKER}_reconnects",
            "counter",
            "Connections that were lost and made again.",
            [((link,), count) for link, count in now.reconnects.items()],
            ("link",),
        ),
        *publishes(_WORKER, now.traffic),
        single(
            f"{_WORKER}_blocked_seconds", "counter", "Time in which the broker took no publishes.", now.blocked_s
        ),
    ]
