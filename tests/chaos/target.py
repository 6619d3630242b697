"""What the faults of a campaign are done to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.fleet import Fleet, Place
from tests.chaos.schedule import KINDS, Planned
from tests.support.brokers import Broker
from tests.support.proxy import Proxy
from tests.support.vhost import Vhost

#: After these what the broker had not yet written is gone; after its other faults connections are.
BREAK_THE_BROKER = ("broker stopped", "broker killed")

#: Waits for so long, or (without a number) until the fault's time is over: False once it is.
Hold = Callable[[float | None], bool]


@dataclass(frozen=True, slots=True)
class Target:
    """What can be broken."""

    vhost: Vhost
    fleet: Fleet
    ledgers: Path

    @property
    def broker(self) -> Broker:
        return self.vhost.broker

    def places(self, planned: Planned) -> list[Place]:
        return [self.fleet.places[name] for name in planned.targets]

    def touched(self, planned: Planned) -> tuple[str, ...]:
        """What the record of a fault says."""
        kind = KINDS[planned.kind]
        if planned.kind == "worker told to end":
            # In good order: whatever is done twice then has no excuse.
            return ()
        if kind.part == "broker":
            return ("broker",) if planned.kind in BREAK_THE_BROKER else ("network",)
        sides = {place.side for place in self.places(planned)}
        return ("network",) if len(sides) > 1 else tuple(sides)

    def networks(self, planned: Planned) -> list[Proxy]:
        return [place.network for place in self.places(planned)]
