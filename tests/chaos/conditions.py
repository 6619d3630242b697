"""What an operator may do to a broker under load. Each is undone at the end of its block, come what may."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from tests.support import administrator
from tests.support.administrator import close_connections
from tests.support.brokers import Broker
from tests.support.cluster import Cluster
from tests.support.vhost import Vhost

_POLICY = "chaos"
#: More than there ever are.
_MANY = 10**6
_GIB = 1024**3

#: What a policy does to the queues that it is for: keys and values of RabbitMQ's.
BOUNDED: Mapping[str, object] = {"max-length": 1, "overflow": "reject-publish"}
SHORT_LIVED: Mapping[str, object] = {"message-ttl": 200}
DELIVERED_ONCE: Mapping[str, object] = {"delivery-limit": 0}


@contextlib.contextmanager
def without_right(vhost: Vhost, exchanges: str) -> Iterator[None]:
    """Everybody may do everything in this vhost but write these exchanges (a regular expression). All connections
    are closed: a channel remembers what it was allowed."""
    api, place = vhost.broker.management, ("permissions", vhost.name, vhost.broker.user)
    usual = api.get(*place)
    allowed = {right: usual[right] for right in ("configure", "write", "read")}
    try:
        api.request("PUT", *place, body=allowed | {"write": f"^(?!({exchanges})$).*$"})
        close_connections(vhost)
        yield
    finally:
        api.request("PUT", *place, body=allowed)


@contextlib.contextmanager
def policy(vhost: Vhost, pattern: str, definition: Mapping[str, object]) -> Iterator[None]:
    """A policy for these queues, above none other. What it did to messages that are there stays done."""
    try:
        _set_policy(vhost, pattern, definition)
        yield
    finally:
        if "max-length" in definition:
            # RabbitMQ 3.10 goes on refusing where a limit is cleared that was reached.
            _set_policy(vhost, pattern, {**definition, "max-length": _MANY})
        vhost.broker.management.request("DELETE", "policies", vhost.name, _POLICY)


def _set_policy(vhost: Vhost, pattern: str, definition: Mapping[str, object]) -> None:
    body = {"pattern": pattern, "definition": definition, "apply-to": "queues"}
    vhost.broker.management.request("PUT", "policies", vhost.name, _POLICY, body=body)


@contextlib.contextmanager
def disk_alarm(broker: Broker) -> Iterator[None]:
    """The broker takes its disk for full, and reads nothing from connections that publish."""
    usual = broker.ctl("eval", "rabbit_disk_monitor:get_disk_free_limit().").strip()
    try:
        broker.ctl("set_disk_free_limit", str(10**6 * _GIB))
        yield
    finally:
        broker.ctl("set_disk_free_limit", usual)


@contextlib.contextmanager
def small_messages(vhost: Vhost, size: int) -> Iterator[None]:
    """The broker refuses messages with more bytes than this. All connections are closed: a channel of RabbitMQ 3
    remembers the limit."""
    try:
        with administrator.small_messages(vhost.broker, size):
            close_connections(vhost)
            yield
    finally:
        close_connections(vhost)


@contextlib.contextmanager
def without_majority(cluster: Cluster) -> Iterator[None]:
    """All nodes but the first are killed; at the end they are back, with their data."""
    lost = cluster.members[1:]
    try:
        cluster.lose(*lost)
        yield
    finally:
        for member in lost:
            member.revive()
        cluster.await_whole()
