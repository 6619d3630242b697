"""Where a campaign takes place: a vhost with our topology, a folder, and the ledger of the one who runs it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from broker.config import loader as config
from broker.config.settings import Settings
from tests.chaos import installation, procfs
from tests.chaos.fleet import Place
from tests.chaos.incidents import Incidents
from tests.chaos.installation import Part
from tests.chaos.records import Ledger, Promise
from tests.chaos.witness import AnswerWitness, Witness
from tests.support.brokers import Broker
from tests.support.installation import make_topology
from tests.support.proxy import Proxy
from tests.support.vhost import Vhost, vhost_of
from tests.support.workers import environment

_LEDGER = "CHAOS_LEDGER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    vhost: Vhost
    folder: Path
    config: Path
    settings: Settings
    promise: Promise
    ledger: Ledger
    incidents: Incidents
    #: Of the workers, one each.
    witnesses: list[Witness] = field(default_factory=list)

    @property
    def ledgers(self) -> Path:
        return self.folder / "ledger"

    @property
    def mark(self) -> str:
        """Is in the environment of every process that is started here, and of whatever that starts."""
        return f"{_LEDGER}={self.ledgers}"

    @contextlib.contextmanager
    def place(self, part: Part, seed: int) -> Iterator[Place]:
        """A place with a network of its own; which is watched."""
        broker = self.vhost.broker
        with Proxy(broker.host, broker.port, seed=seed, keep_log=False) as network:
            if part.side == "workers":
                self.witnesses.append(Witness(self.ledger, self.promise.prefetch))
                network.on_event = self.witnesses[-1].take
            else:
                network.on_event = AnswerWitness(self.ledger).take
            url = self.vhost.url.replace(f":{broker.port}/", f":{network.port}/")
            own = environment(self.config, url, **{_LEDGER: str(self.ledgers)})
            yield Place(part.name, part.side, network, part.command, own, self.folder)


@contextlib.contextmanager
def site(broker: Broker, folder: Path) -> Iterator[Site]:
    """Nothing of it but the folder is left at the end, and the broker is back and healthy."""
    with contextlib.ExitStack() as stack:
        vhost = stack.enter_context(vhost_of(broker, "chaos"))
        (folder / "ledger").mkdir(parents=True)
        ledger = Ledger(folder / "ledger", "rig")
        stack.callback(ledger.close)
        path = folder / "config.yml"
        path.write_text(yaml.safe_dump(installation.configuration()))
        settings = config.load(None, environment(path, vhost.url))
        make_topology(settings)
        made = Site(
            vhost=vhost,
            folder=folder,
            config=path,
            settings=settings,
            promise=installation.promise(settings),
            ledger=ledger,
            incidents=Incidents(ledger),
        )
        stack.callback(_end_all, made.mark)
        ledger.write(made.promise)
        yield made


def _end_all(mark: str) -> None:
    for pid in procfs.marked(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
