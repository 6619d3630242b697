"""The broker that is measured on: a container, the one of ``BROKER_URL``, or a private node."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import click
import pika
import pika.exceptions
import yaml

from broker.amqp.connection import connect
from broker.config.endpoint import Endpoint, parse_endpoint, split_urls
from broker.config.loader import load
from broker.errors import ConfigError
from broker.node.local import private_node
from broker.topology.declare import declare
from broker.topology.model import topology_of
from protocol.names import dead_queue
from tests.benchmarks.contestants import Contestant, configuration, sleeper, stampers
from tests.support.brokers import ContainerBroker
from tests.support.management import Management, ManagementError

_MANAGEMENT_URL = "GLASSRABBIT__BROKER__MANAGEMENT_URL"
_AMQP_PORT, _MANAGEMENT_PORT = 5672, 15672
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Place:
    """A broker with our topology."""

    where: str
    folder: Path
    version: str
    #: The broker's process, if it is known and on this machine.
    pid: int | None
    environment: dict[str, str] = field(repr=False)

    def environment_of(self, one: Contestant) -> dict[str, str]:
        """What the processes of a contestant get."""
        return {**self.environment, **one.environment, "BENCH_COUNTER": str(self.folder / f"{one.queue}.count")}

    @contextlib.contextmanager
    def depths(self, queue: str) -> Iterator[Callable[[], int]]:
        """Tells how many messages wait in a queue and are with nobody."""
        connection = pika.BlockingConnection(pika.URLParameters(self.environment["BROKER_URL"]))
        with contextlib.closing(connection):
            channel = connection.channel()
            yield lambda: int(channel.queue_declare(queue, passive=True).method.message_count)


class NearBroker(ContainerBroker):
    """A container that we talk to directly: through a published port, Docker's proxy would be measured as well."""

    @property
    def endpoint(self) -> Endpoint:
        address = self._attributes()["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        return replace(parse_endpoint(self.url()), host=address, port=_AMQP_PORT)

    def pid(self) -> int:
        return int(self._attributes()["State"]["Pid"])

    def _attributes(self) -> dict[str, Any]:
        self._docker.reload()
        attributes: dict[str, Any] = self._docker.attrs
        return attributes


@contextlib.contextmanager
def place(folder: Path, contestants: Sequence[Contestant], container: str | None = None) -> Iterator[Place]:
    """A place for the length of a ``with`` block; ``folder`` gets the configuration. Nothing is left of it on
    a broker whose management API we may use. Raises what ``connect`` and ``private_node`` do."""
    urls = split_urls(os.environ.get("BROKER_URL", ""))
    if container is not None:
        broker = NearBroker(container)
        with contextlib.ExitStack() as stack:
            stack.callback(broker.stop)
            broker.start()
            yield _prepared(broker.endpoint, broker.pid(), folder, contestants)
    elif urls:
        with _vhost(_endpoint(urls[0]), contestants) as endpoint:
            yield _prepared(endpoint, None, folder, contestants)
    else:
        with private_node() as node:
            yield _prepared(parse_endpoint(node.info.url), node.info.pid, folder, contestants)


def _endpoint(url: str) -> Endpoint:
    try:
        return parse_endpoint(url)
    except ValueError as error:
        raise ConfigError([f"BROKER_URL: {error}"]) from error


def _prepared(endpoint: Endpoint, pid: int | None, folder: Path, contestants: Sequence[Contestant]) -> Place:
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump(configuration(contestants)))
    # Peers are installed, and so compiled. Ours may be as well: what is measured is no compiler.
    left_out = ("GLASSRABBIT", "PYTHONDONTWRITEBYTECODE")
    others = {key: value for key, value in os.environ.items() if not key.upper().startswith(left_out)}
    environment = {**others, "GLASSRABBIT_CONFIG": str(path), "BROKER_URL": _url(endpoint)}
    settings = load(None, environment)

    async def make() -> str:
        connection = await connect(endpoint, name="benchmark", heartbeat_s=30, timeout_s=_TIMEOUT_S)
        try:
            await declare(connection, topology_of(settings))
            return connection.server_version
        finally:
            await connection.close()

    return Place(endpoint.redacted, folder, asyncio.run(make()), pid, environment)


@contextlib.contextmanager
def _vhost(endpoint: Endpoint, contestants: Sequence[Contestant]) -> Iterator[Endpoint]:
    """A vhost of our own; without the management API the one that the URL names."""
    management, name = _management(endpoint), f"bench-{secrets.token_hex(4)}"
    try:
        if management is not None:
            management.add_vhost(name)
    except (OSError, http.client.HTTPException, ManagementError):
        management = None
    if management is None:
        click.echo("no management API: measuring in the vhost of BROKER_URL", err=True)
    try:
        yield endpoint if management is None else replace(endpoint, vhost=name)
    finally:
        if management is None:
            _delete_queues(endpoint, [one.queue for one in (*contestants, *stampers(), sleeper())])
        else:
            management.remove_vhost(name)


def _management(endpoint: Endpoint) -> Management | None:
    """The API at GLASSRABBIT__BROKER__MANAGEMENT_URL. Without that only a broker on the usual port is asked:
    beside any other there may be the API of a stranger."""
    url = os.environ.get(_MANAGEMENT_URL)
    if url is None and endpoint.port != _AMQP_PORT:
        return None
    place = urlsplit(url or f"http://{endpoint.host}:{_MANAGEMENT_PORT}")
    return Management(
        place.hostname or endpoint.host,
        place.port or _MANAGEMENT_PORT,
        endpoint.username,
        endpoint.password,
    )


def _delete_queues(endpoint: Endpoint, queues: Sequence[str]) -> None:
    """The queues that only we use; exchanges and the delay line are those of any installation."""
    # What kept us from measuring may keep us from cleaning up, and is told by its own error.
    with contextlib.suppress(pika.exceptions.AMQPError):
        connection = pika.BlockingConnection(pika.URLParameters(_url(endpoint)))
        with contextlib.closing(connection):
            channel = connection.channel()
            for queue in queues:
                channel.queue_delete(queue)
                channel.queue_delete(dead_queue(queue))


def _url(endpoint: Endpoint) -> str:
    user, password, vhost = (
        quote(part, safe="") for part in (endpoint.username, endpoint.password, endpoint.vhost)
    )
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{endpoint.scheme}://{user}:{password}@{host}:{endpoint.port}/{vhost}"
