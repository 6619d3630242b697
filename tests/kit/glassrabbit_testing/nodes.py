"""One RabbitMQ: a container of three versions, or a private node of this machine. What may be done to it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Any

from broker.config.endpoint import Endpoint, parse_endpoint
from broker.node.files import ERLANG_ARGUMENTS
from broker.node.local import Node
from glassrabbit_testing.management import Management
from glassrabbit_testing.shared import Running
from glassrabbit_testing.waiting import eventually

#: Name of a broker in test ids → the image it runs in.
IMAGES = {
    "3.10": "rabbitmq:3.10-management",
    "4.0": "rabbitmq:4-management",
    "4.3": "rabbitmq:4.3-management",
}
LOCAL = "local"

_LOOPBACK = "127.0.0.1"
_AMQP, _MANAGEMENT = 5672, 15672
_START_S = 90.0
_USER = _PASSWORD = "guest"


class Broker:
    """A RabbitMQ that is ours alone, unless a class of it says otherwise."""

    #: To reach it by ``amqps``.
    tls: ssl.SSLContext | None = None

    def __init__(self, name: str, how: str, port: int, management_port: int) -> None:
        self.name = name
        self.how = how
        self.host = _LOOPBACK
        self.port = port
        self.user = _USER
        self.password = _PASSWORD
        self.management = Management(self.host, management_port, self.user, self.password)
        self._is_paused = self._is_killed = False
        self.version = "not started"

    @property
    def endpoint(self) -> Endpoint:
        return parse_endpoint(self.url())

    def url(self, vhost: str = "%2F") -> str:
        return f"amqp://{self.user}:{self.password}@{self.host}:{self.port}/{vhost}"

    def start(self) -> None:
        """Start it and wait until AMQP and the management API answer."""
        self._start()
        self._await_ready()
        self.version = self.management.version()

    def kill(self) -> None:
        """SIGKILL, as a power cut would. Its data stay; ``restart`` brings it back."""
        self._is_killed = True
        self._kill()

    def restart(self) -> None:
        """Kill it if it runs, start it again on the same data and address, and wait until it is ready."""
        if not self._is_killed:
            self.kill()
        self._start_again()
        self._await_ready()
        self._is_killed = False

    def pause(self) -> None:
        """Stop it in its tracks: sockets stay open and nobody answers."""
        self._is_paused = True
        self._pause()

    def unpause(self) -> None:
        self._unpause()
        self._is_paused = False

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Paused for the length of the block."""
        self.pause()
        try:
            yield
        finally:
            self.unpause()

    @contextlib.contextmanager
    def alarm(self) -> Iterator[None]:
        """In the block it takes its memory for used up, and reads nothing from connections that publish."""
        usual = self.ctl("eval", "vm_memory_monitor:get_vm_memory_high_watermark().").strip()
        self.ctl("set_vm_memory_high_watermark", "0.000001")
        try:
            yield
        finally:
            self.ctl("set_vm_memory_high_watermark", usual)

    def heal(self) -> None:
        """Undo ``pause`` and ``kill``, so that the next test finds a broker."""
        if self._is_paused:
            self.unpause()
        if self._is_killed:
            self.restart()

    def ctl(self, *arguments: str) -> str:
        """What ``rabbitmqctl ARGUMENTS`` prints. Slow: it starts an Erlang VM."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it and remove it with its data."""
        raise NotImplementedError

    def _await_ready(self) -> None:
        eventually(self.management.answers, f"the management API of {self.how}", _START_S)
        eventually(self._listens, f"AMQP of {self.how}", _START_S)

    def _listens(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as link:
                link.sendall(b"AMQP\x00\x00\x09\x01")
                return link.recv(1) == b"\x01"
        except OSError:
            return False

    def _start(self) -> None:
        raise NotImplementedError

    def _start_again(self) -> None:
        raise NotImplementedError

    def _kill(self) -> None:
        raise NotImplementedError

    def _pause(self) -> None:
        raise NotImplementedError

    def _unpause(self) -> None:
        raise NotImplementedError


class ContainerBroker(Broker):
    """RabbitMQ in a container, by testcontainers. Its ports are fixed, so that they outlive its end.

    With a name, of which there is one: it replaces what a killed process left.
    """

    def __init__(self, name: str, container_name: str | None = None) -> None:
        from testcontainers.community.rabbitmq import RabbitMqContainer

        image = IMAGES[name]
        super().__init__(name, f"{image} by testcontainers", free_port(), free_port())
        # Everything explicit: what is left out is read from the developer's environment.
        container = RabbitMqContainer(image, port=_AMQP, username=self.user, password=self.password, vhost="/")
        # ``with_bind_ports`` would publish on all interfaces.
        ports: Any = {
            f"{_AMQP}/tcp": (_LOOPBACK, self.port),
            f"{_MANAGEMENT}/tcp": (_LOOPBACK, self.management.port),
        }
        container.ports = ports
        container.with_env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ERLANG_ARGUMENTS)
        self._container: Any = container
        if container_name is not None:
            _remove_container(container_name)
            container.with_name(container_name)

    def running(self) -> Running:
        container = str(self._docker.id)
        return Running(os.getpid(), self.how, self.version, self.port, self.management.port, container, {})

    def _start(self) -> None:
        self._container.start()

    def ctl(self, *arguments: str) -> str:
        return ctl_in(self._docker, arguments)

    def stop(self) -> None:
        self._container.stop()

    @property
    def _docker(self) -> Any:
        return self._container.get_wrapped_container()


class LocalBroker(Broker):
    """The rabbitmq-server of this machine, as a private node."""

    def __init__(self) -> None:
        self._node = Node(port=free_port())
        super().__init__(LOCAL, "rabbitmq-server of this machine", 0, 0)

    def running(self) -> Running:
        environment = self._node._environment
        return Running(os.getpid(), self.how, self.version, self.port, self.management.port, None, environment)

    def _start(self) -> None:
        info = self._node.start(_START_S)
        self.port = info.port
        self.management = Management(self.host, info.management_port, self.user, self.password)

    def _start_again(self) -> None:
        self._node.restart(_START_S)

    def _kill(self) -> None:
        self._node.kill()

    def _pause(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def _unpause(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    def ctl(self, *arguments: str) -> str:
        return self._node.ctl(*arguments)

    def stop(self) -> None:
        self._node.stop()

    @property
    def _pid(self) -> int:
        pid = self._node.info.pid
        assert pid is not None
        return pid


def new_broker(name: str, container_name: str | None = None) -> ContainerBroker | LocalBroker:
    """One that is not started yet, for the process that looks after it."""
    return LocalBroker() if name == LOCAL else ContainerBroker(name, container_name)


def engine() -> Any:
    """The Docker engine, for the length of a block."""
    from docker.client import DockerClient

    return contextlib.closing(DockerClient.from_env())


def ctl_in(container: Any, arguments: Sequence[str]) -> str:
    """What ``rabbitmqctl`` prints in a container."""
    code, output = container.exec_run(["rabbitmqctl", *arguments])
    assert code == 0, output.decode()
    return str(output.decode())


def _remove_container(name: str) -> None:
    from docker.errors import NotFound

    with engine() as client, contextlib.suppress(NotFound):
        client.containers.get(name).remove(force=True, v=True)


def free_port() -> int:
    """A port of loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])
