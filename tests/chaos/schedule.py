"""Which faults a campaign suffers, where and when. Pure: the same seed always gives the same schedule.

A campaign is a warm-up and then one episode after the other: one to three faults that overlap, and a quiet slice
that begins when all of them have healed. Every kind comes once before any comes twice.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

#: ``broker``: it, or all connections at once; ``network``: the way of some processes to it; ``process``: one.
Part = Literal["broker", "network", "process"]
#: What a fault may be aimed at: one process of a side, a whole side, both sides. The broker has no choice.
Aim = Literal["broker", "worker", "requester", "workers", "requesters", "everything"]

WARM_UP_S = 12.0
QUIET_S = (15.0, 20.0)
MOST_AT_ONCE = 3
#: Between the beginnings of two faults that overlap.
APART_S = (0.0, 6.0)
#: From the end of one to the beginning of the next one that would meet it.
GAP_S = 0.1

_NETWORK: tuple[Aim, ...] = ("worker", "requester", "workers", "requesters", "everything")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault. Two that are on at the same time never spoil the same part of the same thing."""

    part: Part
    aims: tuple[Aim, ...]
    #: How long it lasts, at least and at most.
    seconds: tuple[float, float]
    #: What healing takes on top of that, about.
    heals_s: float = 0.0


KINDS: Mapping[str, Kind] = {
    "worker killed": Kind("process", ("worker",), (0, 0), 5),
    "worker told to end": Kind("process", ("worker",), (0, 0), 8),
    "worker frozen": Kind("process", ("worker",), (5, 20)),
    "child lost": Kind("process", ("worker",), (0, 0), 3),
    "requester killed": Kind("process", ("requester",), (0, 0), 2),
    "broker stopped": Kind("broker", ("broker",), (5, 10), 8),
    "broker killed": Kind("broker", ("broker",), (5, 10), 12),
    "broker frozen": Kind("broker", ("broker",), (5, 25)),
    "connections closed by an administrator": Kind("broker", ("broker",), (0, 0), 5),
    "memory alarm": Kind("broker", ("broker",), (5, 15), 3),
    "disk alarm": Kind("broker", ("broker",), (5, 15), 3),
    # What a worker may not publish it tries again after as long as it has tried in vain.
    "right taken": Kind("broker", ("broker",), (5, 10), 3),
    "small messages": Kind("broker", ("broker",), (5, 10), 4),
    "queues bounded by a policy": Kind("broker", ("broker",), (5, 10), 1),
    "tasks buried by a policy": Kind("broker", ("broker",), (5, 15), 1),
    "resets": Kind("network", _NETWORK, (5, 20)),
    "silence to the broker": Kind("network", _NETWORK, (5, 25)),
    "silence to the client": Kind("network", _NETWORK, (5, 25)),
    "silence": Kind("network", _NETWORK, (5, 25)),
    "slow network": Kind("network", _NETWORK, (10, 25)),
    # Each byte costs the machine of the campaign, too.
    "one byte at a time": Kind("network", ("worker", "requester"), (5, 15)),
    "accepted and left alone": Kind("network", _NETWORK, (5, 20)),
    "refused": Kind("network", _NETWORK, (5, 20)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One fault of an episode."""

    kind: str
    #: Names of the processes that it is aimed at; empty: the broker.
    targets: tuple[str, ...]
    #: After the beginning of the episode.
    begins_s: float
    lasts_s: float
    #: Decides what the plan leaves open.
    seed: int

    @property
    def over_s(self) -> float:
        """When it has healed, about, after the beginning of the episode."""
        return self.begins_s + self.lasts_s + KINDS[self.kind].heals_s

    def meets(self, other: Planned) -> bool:
        """Whether both spoil the same part of the same thing."""
        same = KINDS[self.kind].part == KINDS[other.kind].part
        return same and (not self.targets or bool(set(self.targets) & set(other.targets)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """Faults that overlap, then quiet."""

    faults: tuple[Planned, ...]
    quiet_s: float

    @property
    def seconds(self) -> float:
        """How long it takes, about."""
        return max(fault.over_s for fault in self.faults) + self.quiet_s

    def within(self, seconds: float) -> Episode | None:
        """As much of it as there is time for, if any."""
        if self.seconds <= seconds:
            return self
        return None if len(self.faults) == 1 else replace(self, faults=self.faults[:-1]).within(seconds)


def schedule(
    seed: int,
    workers: Sequence[str],
    requesters: Sequence[str],
    others: Sequence[str] = (),
    kinds: Sequence[str] = tuple(KINDS),
) -> Iterator[Episode]:
    """Episodes without end. ``others`` are on the requesters' side of the network, and else left alone."""
    chance = random.Random(seed)
    sides: Mapping[Aim, Sequence[str]] = {
        "broker": (),
        "worker": workers,
        "requester": requesters,
        "workers": workers,
        "requesters": (*requesters, *others),
        "everything": (*workers, *requesters, *others),
    }
    deck = _deck(chance, kinds)
    while True:
        yield _episode(chance, deck, sides)


def _deck(chance: random.Random, kinds: Sequence[str]) -> Iterator[str]:
    while True:
        yield from chance.sample(kinds, len(kinds))


def _episode(chance: random.Random, deck: Iterator[str], sides: Mapping[Aim, Sequence[str]]) -> Episode:
    faults: list[Planned] = []
    begins_s = 0.0
    for _ in range(chance.randint(1, MOST_AT_ONCE)):
        fault = _planned(chance, next(deck), begins_s, sides)
        # What would meet another one comes after it.
        after_s = max((other.over_s + GAP_S for other in faults if other.meets(fault)), default=0.0)
        faults.append(replace(fault, begins_s=round(max(begins_s, after_s), 1)))
        begins_s = round(begins_s + chance.uniform(*APART_S), 1)
    return Episode(faults=tuple(faults), quiet_s=round(chance.uniform(*QUIET_S), 1))


def _planned(chance: random.Random, kind: str, begins_s: float, sides: Mapping[Aim, Sequence[str]]) -> Planned:
    aim = chance.choice(KINDS[kind].aims)
    targets = sides[aim]
    return Planned(
        kind=kind,
        targets=(chance.choice(targets),) if aim in ("worker", "requester") else tuple(targets),
        begins_s=begins_s,
        lasts_s=round(chance.uniform(*KINDS[kind].seconds), 1),
        seed=chance.getrandbits(32),
    )
