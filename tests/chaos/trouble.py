"""The faults of a campaign: from when until when each can have done harm, and to whom. Pure.

A fault is known by what its record says that it touches. What it really did is not known, so each is taken to do
all that its kind can do, from its beginning until what it cut off can be back.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from tests.chaos.history import Campaign
from tests.chaos.records import FaultBegan, FaultHealed

#: A dead process is found, and written down, so much later at most.
FIND_S = 2.0
#: A broker that stood still for so long takes its confirms to itself for lost, and hands messages on once more.
FROZEN_S = 10.0


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault from its beginning until nothing of it is left."""

    began: FaultBegan
    #: When it had healed; infinity if it never did.
    healed: float
    #: Until when connections that it cut may come back: then nothing can be due to it any more.
    until: float

    @property
    def name(self) -> str:
        return self.began.fault

    @property
    def at(self) -> float:
        return self.began.at

    @property
    def since(self) -> float:
        """What is found dead has been so for a while; what is done on purpose is written down before."""
        return self.at - (FIND_S if self.name.endswith("died") else 0.0)

    @property
    def is_of_broker(self) -> bool:
        return "broker" in self.began.touches

    @property
    def copies(self) -> bool:
        """Whether the broker may have copied what it was handing on from one queue to the next."""
        return self.is_of_broker or (self.name == "broker frozen" and self.healed - self.at > FROZEN_S)

    @property
    def names(self) -> list[str]:
        return self.began.text.split()

    @property
    def kills_requesters(self) -> bool:
        return "requesters" in self.began.touches and self.name.endswith(("died", "killed"))

    @property
    def is_death(self) -> bool:
        """Whether the processes that it touches do nothing afterwards."""
        return bool(self.began.pids) and self.name.endswith(("died", "killed"))

    @property
    def spoils_workers(self) -> bool:
        return not {"broker", "workers", "network"}.isdisjoint(self.began.touches)

    @property
    def spoils_all_workers(self) -> bool:
        return self.is_of_broker or (self.spoils_workers and not self.began.pids)

    def hits_worker(self, pid: int) -> bool:
        """By the process that holds the connection: what another one does is not lost with it."""
        return self.spoils_all_workers or (self.spoils_workers and pid in self.began.pids)

    def meets(self, since: float, until: float) -> bool:
        return self.since <= until and self.until >= since

    def makes_ask_again(self, requester: str) -> bool:
        """Whether it costs a requester its connection and leaves it alive."""
        if self.is_of_broker:
            return True
        if self.kills_requesters or {"requesters", "network"}.isdisjoint(self.began.touches):
            return False
        # Its pid is in no ledger: of those that are touched it is told by its name.
        return not self.began.pids or not self.names or requester in self.names


@dataclass(slots=True)
class Faults:
    """All faults, by ``since``."""

    all: list[Fault]
    _since: list[float] = field(default_factory=list)
    #: When all faults up to each of them are over.
    _over: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._since = [fault.since for fault in self.all]
        self._over = list(accumulate((fault.until for fault in self.all), max))

    def meeting(self, since: float, until: float) -> list[Fault]:
        """All that are on between two times, and a few that are not."""
        return self.all[bisect_left(self._over, since) : bisect_right(self._since, until)]


def faults_of(campaign: Campaign) -> Faults:
    """Every fault with its end. A process is lost in a moment; what hits more and never heals lasts for ever."""
    recovery_s = campaign.promise.recovery_s
    records = [*campaign.records[FaultBegan], *campaign.records[FaultHealed]]
    on: dict[int, FaultBegan] = {}
    found: list[Fault] = []
    for record in sorted(records, key=lambda record: (record.at, isinstance(record, FaultHealed))):
        if isinstance(record, FaultBegan):
            on[record.number] = record
        elif isinstance(record, FaultHealed) and record.number in on:
            found.append(Fault(on.pop(record.number), record.at, record.at + recovery_s))
    found += [Fault(began, math.inf, began.at + recovery_s if began.pids else math.inf) for began in on.values()]
    return Faults(sorted(found, key=lambda fault: fault.since))


def covered_s(spans: Iterable[tuple[float, float]], since: float, until: float) -> float:
    """For how long there was at least one of these between two times."""
    covered, at = 0.0, since
    for begin, end in sorted(spans):
        begin, end = max(at, begin), min(until, end)
        if end > begin:
            covered += end - begin
            at = end
    return covered
