"""Three RabbitMQ nodes in containers, one cluster; each can be killed, restarted, or cut off from the others.

Nodes talk to each other by a network of their own, and clients come by ports of loopback: a node that is cut off
from its peers can still be reached, which is the partition that a client cannot see.
"""

from __future__ import annotations

import http.client
import io
import secrets
import tarfile
from typing import Any

from broker.node.files import ERLANG_ARGUMENTS
from tests.support.brokers import IMAGES, Broker, free_port
from tests.support.management import ManagementError
from tests.support.waiting import eventually
from tests.support.workers import ROOT

NODES = 3
#: Nodes notice a silent peer after about so long (RabbitMQ's default: 60 s).
TICK_S = 5

_CONFIGURATION = ROOT / "docker" / "cluster" / "cluster.conf"
_TEST_CONFIGURATION = f"net_ticktime = {TICK_S}\n"
_FOLDER = "/etc/rabbitmq/conf.d"
_FORMED_S = 90.0
_GRACE_S = 60


class Member(Broker):
    """One node. ``kill``, ``restart`` and ``ctl`` are about it alone."""

    def __init__(self, image: str, host: str, network: Any, cookie: str) -> None:
        super().__init__(host, f"{host} of {image}", free_port(), free_port())
        self.node = f"rabbit@{host}"
        self._network = network
        self._is_cut_off = False
        ports = {5672: self.port, 15672: self.management.port}
        self._container: Any = network.client.containers.create(
            image,
            hostname=host,
            environment={
                "RABBITMQ_ERLANG_COOKIE": cookie,
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_ARGUMENTS,
            },
            ports={f"{port}/tcp": (self.host, ours) for port, ours in ports.items()},
        )
        self._connect()
        files = {"50-cluster.conf": _CONFIGURATION.read_text(), "60-test.conf": _TEST_CONFIGURATION}
        self._container.put_archive(_FOLDER, _archive(files))

    def cut_off(self) -> None:
        """From now on its peers do not hear from it. Clients still reach it."""
        self._is_cut_off = True
        self._network.disconnect(self._container)

    def rejoin(self) -> None:
        """Undo ``cut_off``."""
        self._connect()
        self._is_cut_off = False

    def renew(self) -> None:
        """Stop it in good order, as for an upgrade, and start it again; wait until AMQP and the API answer."""
        self._container.exec_run(["rabbitmqctl", "stop"])
        self._container.wait(timeout=_GRACE_S)
        self._start_again()
        self._await_ready()

    def revive(self) -> None:
        """Undo whatever was done to it, or start it, without waiting: nodes of a cluster may wait
        for each other."""
        if self._is_cut_off:
            self.rejoin()
        if self._is_paused:
            self.unpause()
        self._start()
        self._is_killed = False

    def ctl(self, *arguments: str) -> str:
        return self.run("rabbitmqctl", *arguments)

    def run(self, *command: str) -> str:
        """What a command in the container prints on standard output."""
        code, (out, err) = self._container.exec_run(command, demux=True)
        assert code == 0, f"{' '.join(command)}: {code} {out} {err}"
        return (out or b"").decode()

    def stop(self) -> None:
        self._container.remove(force=True, v=True)

    def sees(self) -> set[str]:
        """The nodes that it takes for running members of its cluster, and has no partition with."""
        try:
            nodes = self.management.get("nodes")
        except (OSError, http.client.HTTPException, ManagementError):
            return set()
        return {one["name"] for one in nodes if one["running"] and not one.get("partitions")}

    @property
    def is_open(self) -> bool:
        """Whether it speaks AMQP."""
        return self._listens()

    def _connect(self) -> None:
        self._network.connect(self._container, aliases=[self.name])

    def _start(self) -> None:
        self._container.start()

    def _start_again(self) -> None:
        self._start()

    def _kill(self) -> None:
        self._container.kill()
        self._container.wait()

    def _pause(self) -> None:
        self._container.pause()

    def _unpause(self) -> None:
        self._container.unpause()


class Cluster(Broker):
    """A broker of three nodes. Its URL names them all; tests look at it through a node that runs."""

    def __init__(self, name: str) -> None:
        from docker.client import DockerClient

        self._client: Any = DockerClient.from_env()
        self._network: Any = self._client.networks.create(f"glassrabbit-test-{secrets.token_hex(4)}")
        cookie = secrets.token_hex(16)
        self.members: list[Member] = []
        try:
            for number in range(1, NODES + 1):
                self.members.append(Member(IMAGES[name], f"rabbit-{number}", self._network, cookie))
        except BaseException:
            self.stop()
            raise
        first = self.members[0]
        super().__init__(name, f"{NODES} nodes of {IMAGES[name]}", first.port, first.management.port)

    def url(self, vhost: str = "%2F") -> str:
        return ",".join(member.url(vhost) for member in self.members)

    def start(self) -> None:
        for member in self.members:
            member.revive()
        self.await_whole()
        self.version = self.management.version()

    def member(self, node: str) -> Member:
        return next(member for member in self.members if member.node == node)

    def leader(self, vhost: str, queue: str) -> Member:
        """The node that leads a quorum queue at present."""
        return self.member(self.management.queue(vhost, queue)["leader"])

    def look_through(self, member: Member) -> None:
        """Ask this node from now on, also for ``ctl`` and for what tests publish and count."""
        self.port, self.management = member.port, member.management

    def lose(self, *members: Member) -> None:
        """SIGKILL these; tests look through one that is left."""
        self.look_through(next(member for member in self.members if member not in members))
        for member in members:
            member.kill()

    def await_whole(self) -> None:
        """Return once each node sees all of them."""
        everybody = {member.node for member in self.members}
        eventually(
            lambda: all(member.sees() == everybody for member in self.members), "a whole cluster", _FORMED_S
        )

    def heal(self) -> None:
        for member in self.members:
            member.revive()
        self.await_whole()
        self.look_through(self.members[0])

    def ctl(self, *arguments: str) -> str:
        return next(member for member in self.members if member.port == self.port).ctl(*arguments)

    def stop(self) -> None:
        for member in self.members:
            member.stop()
        self._network.remove()
        self._client.close()


def _archive(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()
