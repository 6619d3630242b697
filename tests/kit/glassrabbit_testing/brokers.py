"""Brokers for the tests: containers of three versions, or a private node where there is no Docker engine.

A broker is started when the first test asks for it, and each test has a vhost of its own on it. Every test process
of this user shares it (``glassrabbit_testing.shared``), so nobody may do to it what others notice. A process that
must has a broker of its own (``Wanted.alone``), which it may kill, pause and restart: its address stays the same.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import socket
import ssl
import subprocess
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from broker.config.endpoint import Endpoint, parse_endpoint
from broker.node.files import ERLANG_ARGUMENTS, find_server
from broker.node.local import Node
from glassrabbit_testing.management import Management
from glassrabbit_testing.shared import Running, Use
from glassrabbit_testing.waiting import eventually

#: Name of a broker in test ids → the image it runs in.
IMAGES = {
    "3.10": "rabbitmq:3.10-management",
    "4.0": "rabbitmq:4-management",
    "4.3": "rabbitmq:4.3-management",
}
DEFAULT = "4.0"
LOCAL = "local"

#: What ``rabbitmqctl`` may do to a broker that is not ours alone.
_HARMLESS = {"list_connections", "close_all_connections"}
_NOT_OURS = "others use this broker as well: mark the test for one of its own"

_LOOPBACK = "127.0.0.1"
_AMQP, _MANAGEMENT = 5672, 15672
_START_S = 90.0
_PULL_S = 600
_USER = _PASSWORD = "guest"


class NotOurs(Exception):
    """Others use this broker as well."""


class Wanted(NamedTuple):
    """A broker that a test asks for."""

    name: str
    #: Nobody but this process may use it.
    alone: bool = False


class Broker:
    """A RabbitMQ that is ours alone, but for ``SharedBroker``."""

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
        return _ctl_in(self._docker, arguments)

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


class SharedBroker(Broker):
    """A broker that others use as well: nothing of it may be changed but vhosts and users of ours."""

    def __init__(self, name: str, *, alone: bool = False) -> None:
        self._use = Use(name, alone=alone)
        running = self._running = self._use.running
        how = running.how if alone else f"{running.how}, shared"
        super().__init__(name, how, running.port, running.management_port)
        self.version = running.version

    def start(self) -> None:
        self._await_ready()

    def ctl(self, *arguments: str) -> str:
        words = [word for word in arguments if not word.startswith("-")]
        assert words[0] in _HARMLESS, f"'rabbitmqctl {words[0]}' touches every user: {_NOT_OURS}"
        return self._ctl(*arguments)

    def _ctl(self, *arguments: str) -> str:
        if self._running.container is not None:
            with self._docker() as container:
                return _ctl_in(container, arguments)
        server = find_server()
        assert server is not None
        command = [str(server.with_name("rabbitmqctl")), *arguments]
        done = subprocess.run(command, env=self._running.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout)

    @contextlib.contextmanager
    def _docker(self) -> Iterator[Any]:
        with _engine() as client:
            yield client.containers.get(self._running.container)

    def stop(self) -> None:
        self._use.end()

    def kill(self) -> None:
        raise NotOurs(_NOT_OURS)

    def pause(self) -> None:
        raise NotOurs(_NOT_OURS)


class OwnBroker(SharedBroker):
    """A container that is ours alone. Its keeper removes it even if this process is killed."""

    def __init__(self, name: str) -> None:
        super().__init__(name, alone=True)

    def ctl(self, *arguments: str) -> str:
        return self._ctl(*arguments)

    def kill(self) -> None:
        Broker.kill(self)

    def pause(self) -> None:
        Broker.pause(self)

    def _start_again(self) -> None:
        with self._docker() as container:
            container.start()

    def _kill(self) -> None:
        with self._docker() as container:
            container.kill()
            container.wait()

    def _pause(self) -> None:
        with self._docker() as container:
            container.pause()

    def _unpause(self) -> None:
        with self._docker() as container:
            container.unpause()


class Brokers:
    """The brokers of a process: started side by side in the background, each at most once."""

    def __init__(self) -> None:
        self._starts = ThreadPoolExecutor(max_workers=2 * len(IMAGES))
        self._brokers: dict[Wanted, Future[Broker]] = {}

    def prepare(self, wanted: Iterable[Wanted]) -> None:
        """Begin to start these, without waiting."""
        for one in wanted:
            if one not in self._brokers:
                self._brokers[one] = self._starts.submit(_started, one)

    def get(self, wanted: Wanted) -> Broker:
        """A running broker. Raises what kept it from starting."""
        self.prepare([wanted])
        return self._brokers[wanted].result()

    def running(self) -> list[Broker]:
        return [start.result() for start in self._brokers.values() if not start.exception()]

    def stop(self) -> None:
        for broker in self.running():
            broker.stop()
        self._starts.shutdown()


def _started(wanted: Wanted) -> Broker:
    broker: Broker
    if not wanted.alone:
        broker = SharedBroker(wanted.name)
    elif wanted.name == LOCAL:
        # Its guard ends it with this process.
        broker = LocalBroker()
    else:
        broker = OwnBroker(wanted.name)
    broker.start()
    return broker


def new_broker(name: str, container_name: str | None = None) -> ContainerBroker | LocalBroker:
    """One that is not started yet, for the process that looks after it."""
    return LocalBroker() if name == LOCAL else ContainerBroker(name, container_name)


def _engine() -> Any:
    from docker.client import DockerClient

    return contextlib.closing(DockerClient.from_env())


def _ctl_in(container: Any, arguments: Sequence[str]) -> str:
    code, output = container.exec_run(["rabbitmqctl", *arguments])
    assert code == 0, output.decode()
    return str(output.decode())


def _remove_container(name: str) -> None:
    from docker.errors import NotFound

    with _engine() as client, contextlib.suppress(NotFound):
        client.containers.get(name).remove(force=True, v=True)


@functools.cache
def engine_answers() -> bool:
    """Whether a Docker engine can be used from here."""
    from docker.client import DockerClient
    from docker.errors import DockerException

    # docker-py leaves the socket of a failed attempt to the garbage collector.
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        try:
            with contextlib.closing(DockerClient.from_env(timeout=3)) as client:
                return bool(client.ping())
        except (DockerException, OSError):
            return False
        finally:
            gc.collect()


@functools.cache
def why_not(name: str) -> str | None:
    """Why a broker of this name cannot be had here, or None if it can. Pulls its image if it is missing."""
    if name == LOCAL:
        return None if find_server() else "no rabbitmq-server is installed (python -m broker.node.provision)"
    if not engine_answers():
        return "no Docker engine answers"
    return _pull_problem(IMAGES[name])


def _pull_problem(image: str) -> str | None:
    from docker.client import DockerClient
    from docker.errors import DockerException, ImageNotFound

    with contextlib.closing(DockerClient.from_env(timeout=_PULL_S)) as client:
        try:
            client.images.get(image)
        except ImageNotFound:
            try:
                client.images.pull(image)
            except DockerException as error:
                return f"image {image} is not here and cannot be pulled ({error})"
    return None


def free_port() -> int:
    """A port of loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])
