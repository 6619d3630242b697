"""A campaign, from an empty vhost to its last record. Whatever it starts is gone at its end, come what may."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import installation, procfs, schedule
from tests.chaos.ending import Ending
from tests.chaos.fleet import Fleet
from tests.chaos.installation import Part
from tests.chaos.nemesis import Nemesis
from tests.chaos.progress import Progress
from tests.chaos.records import now
from tests.chaos.schedule import Episode
from tests.chaos.site import site
from tests.chaos.target import Target
from tests.support.brokers import Broker

READY_S = 120.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """What is asked for. The same one has the same load and the same faults."""

    seconds: float
    seed: int
    #: Tasks a second, of all requesters together.
    rate: float = 40.0
    #: Each call is over after so long.
    within_s: float = 90.0
    mutant: str | None = None
    kinds: Sequence[str] = tuple(schedule.KINDS)

    def parts(self) -> list[Part]:
        return installation.parts(self.seed, self.rate, self.within_s, self.mutant)

    def episodes(self) -> Iterator[Episode]:
        return schedule.schedule(
            self.seed,
            list(installation.WORKERS),
            list(installation.REQUESTERS),
            installation.OTHERS,
            self.kinds,
        )


def play(campaign: Campaign, broker: Broker, folder: Path, tell: Tell) -> None:
    """Play a campaign on a running broker, and leave its records in ``folder/ledger``. ``tell`` hears how it goes.

    The broker is back and healthy afterwards. Raises whatever kept the campaign from its end.
    """
    with contextlib.ExitStack() as stack:
        where = stack.enter_context(site(broker, folder))
        places = [
            stack.enter_context(where.place(part, campaign.seed + number))
            for number, part in enumerate(campaign.parts())
        ]
        fleet = stack.enter_context(Fleet(places, where.incidents))
        stack.enter_context(Progress(where.ledgers, where.incidents, tell))
        fleet.start(READY_S)
        since = now()
        time.sleep(schedule.WARM_UP_S)
        usual = max(procfs.descriptors(place.pid) for place in fleet.side("workers"))
        target = Target(where.vhost, fleet, where.ledgers)
        played = Nemesis(target, where.incidents, since + campaign.seconds).suffer(campaign.episodes())
        tell(f"{played} episodes in {now() - since:.0f} s, all healed: nobody asks any more")
        Ending(where, fleet, campaign.within_s, usual).play()
