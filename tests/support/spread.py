"""An installation on a cluster: its workers and dispatchers reach each node by a network of its own."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from broker.config import loader as config
from tests.support.ack_auditor import audit
from tests.support.brokers import why_not
from tests.support.caller import Caller
from tests.support.cluster import Cluster, Member
from tests.support.distant import Load, Verdict, ends_of, sent_again
from tests.support.frames import Event
from tests.support.idle import finish
from tests.support.installation import Installation
from tests.support.management import ManagementError
from tests.support.proxy import Proxy
from tests.support.vhost import Vhost
from tests.support.waiting import eventually
from tests.support.workers import WorkerProcess

HEARTBEAT_S = 4
CONFIRM_S = 5.0
#: RabbitMQ itself may lose a quorum queue whose node is killed within a second of its declaration.
SETTLED_S = 3.0


class Spread:
    """``workers`` and ``dispatchers`` are proxies before the nodes, in their order. ``close`` ends all it made."""

    def __init__(self, installation: Installation, cluster: Cluster) -> None:
        self._cleanup = contextlib.ExitStack()
        self.installation = installation
        self.vhost = installation.vhost
        self.cluster = cluster
        self.workers = [self._before(member) for member in cluster.members]
        self.dispatchers = [self._before(member) for member in cluster.members]

    def _before(self, member: Member) -> Proxy:
        return self._cleanup.enter_context(Proxy(member.host, member.port))

    def url(self, proxies: Iterable[Proxy]) -> str:
        """The cluster by way of these proxies, one endpoint each."""
        user, host = f"{self.cluster.user}:{self.cluster.password}", self.cluster.host
        return ",".join(f"amqp://{user}@{host}:{proxy.port}/{self.vhost.name}" for proxy in proxies)

    def worker(self, *members: Member) -> WorkerProcess:
        """A worker of ``queue_a``, ready, that knows these nodes, or all."""
        return self.installation.worker(BROKER_URL=self.url(self._chosen(self.workers, members)))

    def caller(self, *members: Member) -> Caller:
        """A dispatcher, connected, that knows these nodes, or all."""
        urls = self.url(self._chosen(self.dispatchers, members))
        settings = config.load(None, {**self.installation.environment, "BROKER_URL": urls})
        return self._cleanup.enter_context(Caller(settings))

    def _chosen(self, proxies: Sequence[Proxy], members: Sequence[Member]) -> list[Proxy]:
        return [
            proxy for proxy, one in zip(proxies, self.cluster.members, strict=True) if one in (members or [one])
        ]

    def clients_of(self, member: Member) -> list[str]:
        """The names of the connections that are open to a node by way of our networks."""
        number = self.cluster.members.index(member)
        return [link.name for proxies in (self.workers, self.dispatchers) for link in proxies[number].live]

    def home_and_others(self) -> tuple[Member, list[Member]]:
        """The node that the first worker consumes from, and the others: tests look through one of them now."""
        members = self.cluster.members
        home = next(one for one in members if any(name.endswith("consume") for name in self.clients_of(one)))
        others = [member for member in members if member is not home]
        self.cluster.look_through(others[0])
        return home, others

    def load(self, caller: Caller, *, fails_every: int = 25, seconds: float = 0.02, window: int = 20) -> Load:
        """Start a load that goes on until ``verdict``."""
        arguments = {"fails_every": fails_every, "seconds": seconds}
        return Load(caller, self.installation.journal(), None, arguments, timeout_s=90.0, window=window)

    def verdict(self, load: Load, *workers: WorkerProcess) -> Verdict:
        """Wait for the end of the load, drain and stop the workers, judge, and print it."""
        load.wait()
        left = self.finish(*workers)
        log = merged_logs(self.workers)
        verdict = Verdict(
            asked=load.count,
            connections=sum(proxy.accepted for proxy in (*self.workers, *self.dispatchers)),
            left=left,
            dead=self.vhost.ready("queue_a.dead"),
            delivered_again=sent_again(log),
            dishonest=tuple(audit(log)),
            **ends_of(load),
        )
        print(verdict)
        return verdict

    def finish(self, *workers: WorkerProcess) -> int:
        """Let workers do everything and stop them; how many messages are stuck."""
        return finish(self.vhost, *workers, within_s=40)

    def close(self) -> None:
        self._cleanup.close()


def merged_logs(proxies: Sequence[Proxy]) -> list[Event]:
    """What passed on several networks, in order of time; connections are numbered anew."""
    events = [
        replace(event, connection=event.connection * len(proxies) + number)
        for number, proxy in enumerate(proxies)
        for event in list(proxy.log)
    ]
    return sorted(events, key=lambda event: event.at)


@contextlib.contextmanager
def running(name: str) -> Iterator[Cluster]:
    """A cluster of this version, removed afterwards."""
    problem = why_not(name)
    assert problem is None, problem
    cluster = Cluster(name)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@contextlib.contextmanager
def installed(cluster: Cluster, folder: Path, **further: object) -> Iterator[Spread]:
    """An installation on a vhost of its own; afterwards the cluster is whole again."""
    vhost = Vhost(cluster, f"test-{secrets.token_hex(4)}")

    def is_made() -> bool:
        """RabbitMQ 3.10 gives up where a node that has just joined does not know of the vhost in time."""
        try:
            cluster.management.add_vhost(vhost.name)
        except (ManagementError, OSError):
            return False
        return True

    eventually(is_made, "the vhost", 90.0)
    changes = {
        "broker": {"heartbeat_s": HEARTBEAT_S, "confirm_timeout_s": CONFIRM_S},
        "tasks": {"step": {"queue": "queue_a", "handler": "tests.support.network_handlers:step"}},
        "mailboxes": ["box"],
        **further,
    }
    try:
        with contextlib.closing(Installation(vhost, folder, changes)) as installation:
            installation.declare()
            settled_s = time.monotonic() + SETTLED_S
            with contextlib.closing(Spread(installation, cluster)) as spread:
                eventually(lambda: time.monotonic() > settled_s, "a settled topology")
                yield spread
    finally:
        cluster.heal()
        cluster.management.remove_vhost(vhost.name)


def longest_gap(load: Load) -> float:
    """Between the ends of two calls, in seconds."""
    return max(later - earlier for earlier, later in itertools.pairwise(load.times))
