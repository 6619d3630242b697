"""A campaign, from an empty vhost to its last record. Whatever it starts is gone at its end, come what may."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from broker import config
from broker.connection import connect
from broker.declare import declare
from broker.settings import Settings
from broker.topology import topology_of
from tests.chaos import ending, installation, schedule
from tests.chaos.faults import Target
from tests.chaos.fleet import Fleet, Place, marked
from tests.chaos.incidents import Incidents
from tests.chaos.installation import Part
from tests.chaos.nemesis import Nemesis
from tests.chaos.progress import Progress
from tests.chaos.records import Ledger, now
from tests.chaos.schedule import Episode
from tests.chaos.witness import Witness
from tests.support.brokers import Broker
from tests.support.proxy import Proxy
from tests.support.vhost import Vhost
from tests.support.waiting import run
from tests.support.workers import environment

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

    def episodes(self) -> list[Episode]:
        return schedule.schedule(
            self.seed,
            self.seconds,
            list(installation.WORKERS),
            list(installation.REQUESTERS),
            installation.OTHERS,
            self.kinds,
        )


def play(campaign: Campaign, broker: Broker, folder: Path, tell: Tell) -> None:
    """Play a campaign on a running broker, and leave its records in ``folder/ledger``. ``tell`` hears how it goes.

    The broker is back and healthy afterwards. Raises whatever kept the campaign from its end.
    """
    ledgers = folder / "ledger"
    ledgers.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        vhost = stack.enter_context(_vhost(broker))
        ledger = Ledger(ledgers, "rig")
        stack.callback(ledger.close)
        path = folder / "config.yml"
        path.write_text(yaml.safe_dump(installation.configuration()))
        settings = config.load(None, environment(path, vhost.url))
        _declare(settings)
        ledger.write(installation.promise(settings))

        incidents = Incidents(ledger)
        witnesses: list[Witness] = []
        places: list[Place] = []
        mark = f"CHAOS_LEDGER={ledgers}"
        stack.callback(_end_all, mark)
        for number, part in enumerate(campaign.parts()):
            proxy = Proxy(broker.host, broker.port, seed=campaign.seed + number, keep_log=False)
            if part.side == "workers":
                witnesses.append(Witness(ledger, installation.promise(settings).prefetch))
                proxy.on_event = witnesses[-1].take
            stack.enter_context(proxy)
            places.append(_place(part, proxy, vhost, folder))

        fleet = stack.enter_context(Fleet(places, incidents))
        stack.enter_context(Progress(ledgers, incidents, tell))
        fleet.wait_ready(READY_S)
        since = now()
        time.sleep(schedule.WARM_UP_S)
        usual = max(ending.descriptors(place.pid) for place in fleet.side("workers"))
        nemesis = Nemesis(Target(vhost, fleet), incidents, since + campaign.seconds)
        played = nemesis.suffer(campaign.episodes())
        tell(f"{played} episodes in {now() - since:.0f} s, all healed: nobody asks any more")
        ending.Ending(vhost, settings, fleet, incidents, ledger, witnesses, mark, campaign.within_s, usual).play()


def _place(part: Part, proxy: Proxy, vhost: Vhost, folder: Path) -> Place:
    url = vhost.url.replace(f":{vhost.broker.port}/", f":{proxy.port}/")
    own = environment(folder / "config.yml", url, CHAOS_LEDGER=str(folder / "ledger"))
    return Place(part.name, part.side, proxy, part.command, own, folder)


def _end_all(mark: str) -> None:
    for pid in marked(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _vhost(broker: Broker) -> Iterator[Vhost]:
    vhost = Vhost(broker, f"chaos-{secrets.token_hex(4)}")
    broker.management.add_vhost(vhost.name)
    try:
        yield vhost
    finally:
        broker.heal()
        broker.management.remove_vhost(vhost.name)


def _declare(settings: Settings) -> None:
    async def make() -> None:
        connection = await connect(settings.broker.endpoints[0], name="chaos", heartbeat_s=30, timeout_s=10)
        await declare(connection, topology_of(settings))
        await connection.close()

    run(make())
