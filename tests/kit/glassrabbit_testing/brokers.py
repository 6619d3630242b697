"""Brokers for the tests: containers of three versions, or a private node where there is no Docker engine.

A broker is started when the first test asks for it, and each test has a vhost of its own on it. Every test process
of this user shares it (``glassrabbit_testing.shared``), so nobody may do to it what others notice. A process that
must has a broker of its own (``Wanted.alone``), which it may kill, pause and restart: its address stays the same.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import subprocess
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from broker.node.files import find_server
from glassrabbit_testing.nodes import IMAGES, LOCAL, Broker, LocalBroker, ctl_in, engine
from glassrabbit_testing.shared import Use

DEFAULT = "4.0"

#: What ``rabbitmqctl`` may do to a broker that is not ours alone.
_HARMLESS = {"list_connections", "close_all_connections"}
_NOT_OURS = "others use this broker as well: mark the test for one of its own"
_PULL_S = 600


class NotOurs(Exception):
    """Others use this broker as well."""


class Wanted(NamedTuple):
    """A broker that a test asks for."""

    name: str
    #: Nobody but this process may use it.
    alone: bool = False


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
                return ctl_in(container, arguments)
        server = find_server()
        assert server is not None
        command = [str(server.with_name("rabbitmqctl")), *arguments]
        done = subprocess.run(command, env=self._running.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout)

    @contextlib.contextmanager
    def _docker(self) -> Iterator[Any]:
        with engine() as client:
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
