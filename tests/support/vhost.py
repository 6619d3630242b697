"""A virtual host for one test, and plain AMQP on it: what a stranger could publish, and what stands in queues."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgpack
import pika
import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from protocol.dead_letter import Reason, reason_of
from protocol.names import APP_ID, CONTENT_TYPE, dead_queue, new_id
from tests.support.brokers import Broker
from tests.support.waiting import patiently


@dataclass(frozen=True)
class Letter:
    """A message taken out of a queue."""

    exchange: str
    routing_key: str
    properties: Any
    body: bytes

    @property
    def headers(self) -> dict[str, Any]:
        return self.properties.headers or {}

    @property
    def reason(self) -> Reason:
        return reason_of(self.exchange, self.routing_key, self.headers)

    @property
    def value(self) -> Any:
        return msgpack.unpackb(self.body)


@dataclass(frozen=True)
class Vhost:
    """A vhost of ``broker``. Every call has a connection of its own, so a broker that restarts is no matter."""

    broker: Broker
    name: str

    @property
    def url(self) -> str:
        return self.broker.url(self.name)

    @contextlib.contextmanager
    def connection(self, blocked_s: float | None = None) -> Iterator[BlockingConnection]:
        """A plain pika connection, without heartbeats: tests leave it alone while they wait for others. Under an
        alarm it ends after ``blocked_s``."""
        parameters = pika.ConnectionParameters(
            host=self.broker.host,
            port=self.broker.port,
            virtual_host=self.name,
            credentials=pika.PlainCredentials(self.broker.user, self.broker.password),
            heartbeat=0,
            blocked_connection_timeout=blocked_s,
            client_properties={"connection_name": "test"},
        )
        connection = BlockingConnection(parameters)
        try:
            yield connection
        finally:
            if connection.is_open:
                connection.close()

    @contextlib.contextmanager
    def channel(self) -> Iterator[BlockingChannel]:
        """A channel in confirm mode on a connection of its own."""
        with self.connection() as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            yield channel

    def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: pika.BasicProperties | None = None
    ) -> None:
        """Publish, ``mandatory``, and wait for the confirm. Raises if it was returned or refused."""
        with self.channel() as channel:
            channel.basic_publish(exchange, routing_key, body, properties or task(), mandatory=True)

    def messages(self, queue: str, count: int = 1, within_s: float = 15.0) -> list[Letter]:
        """Take ``count`` messages out of ``queue``, in order, as soon as they are there."""
        letters: list[Letter] = []
        with self.channel() as channel:
            channel.basic_qos(prefetch_count=count)

            def take(for_s: float) -> bool:
                deadline = time.monotonic() + for_s
                while len(letters) < count and (left_s := deadline - time.monotonic()) > 0:
                    method, properties, body = next(channel.consume(queue, inactivity_timeout=left_s))
                    if method is not None and body is not None:
                        letters.append(Letter(method.exchange, method.routing_key, properties, body))
                        channel.basic_ack(method.delivery_tag)
                return len(letters) == count

            assert patiently(take, within_s), f"{len(letters)} of {count} messages in {queue}: {letters}"
            channel.cancel()
        return letters

    def read_dead(self, queue: str, count: int = 1, within_s: float = 15.0) -> list[Letter]:
        """Take ``count`` dead letters of a work queue."""
        return self.messages(dead_queue(queue), count, within_s)

    def ready(self, queue: str) -> int:
        """Messages that wait in ``queue``, unacked ones not counted. Exact now."""
        return int(self._declared(queue).message_count)

    def consumers(self, queue: str) -> int:
        return int(self._declared(queue).consumer_count)

    def _declared(self, queue: str) -> Any:
        with self.connection() as connection:
            return connection.channel().queue_declare(queue, passive=True).method

    def exists(self, queue: str) -> bool:
        try:
            self._declared(queue)
        except pika.exceptions.ChannelClosedByBroker:
            return False
        return True

    def connection_names(self, containing: str = "worker") -> set[str]:
        """Address and port of each open connection whose own name contains a text: a reconnect changes them.

        Asks the node itself, since the management API hears of connections seconds later.
        """
        listing = self.broker.ctl("--quiet", "list_connections", "vhost", "name", "client_properties")
        rows = [line.split("\t") for line in listing.splitlines()]
        return {row[1] for row in rows if row[0] == self.name and containing in row[2]}


@contextlib.contextmanager
def vhost_of(broker: Broker, what: str) -> Iterator[Vhost]:
    """A new vhost. Afterwards it is gone, and a broker that was killed or paused is back."""
    vhost = Vhost(broker, f"{what}-{secrets.token_hex(4)}")
    broker.management.add_vhost(vhost.name)
    try:
        yield vhost
    finally:
        broker.heal()
        broker.management.remove_vhost(vhost.name)


def task(
    name: str = "note",
    *,
    task_id: str | None = None,
    reply_to: str | None = None,
    headers: dict[str, Any] | None = None,
    **further: Any,
) -> pika.BasicProperties:
    """Properties of a well-formed task, but for what is given otherwise."""
    fields: dict[str, Any] = {
        "type": name,
        "message_id": task_id or new_id(),
        "reply_to": reply_to,
        "content_type": CONTENT_TYPE,
        "app_id": APP_ID,
        "delivery_mode": 2,
        "headers": {"v": 1} if headers is None else headers,
    }
    return pika.BasicProperties(**fields | further)


def body(**arguments: Any) -> bytes:
    """The body of a task."""
    packed: bytes = msgpack.packb(arguments)
    return packed
