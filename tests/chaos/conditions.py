"""What an operator may do to a broker under load. Each is undone at the end of its block, come what may."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from tests.support import administrator
from tests.support.administrator import close_connections
from tests.support.brokers import Broker
from tests.support.vhost import Vhost

_POLICY = "chaos"
#: More than there ever are.
_MANY = 10**6
_ALL = ".*"
_GIB = 1024**3


@contextlib.contextmanager
def without_right(vhost: Vhost, *, write: str = "", read: str = "") -> Iterator[None]:
    """Everybody may do everything in this vhost but write this exchange, or read this queue. All connections are
    closed: a channel remembers what it was allowed."""
    api, place = vhost.broker.management, ("permissions", vhost.name, vhost.broker.user)
    usual = api.get(*place)
    allowed = {"configure": usual["configure"], "write": usual["write"], "read": usual["read"]}
    try:
        api.request("PUT", *place, body=allowed | _all_but(write, "write") | _all_but(read, "read"))
        close_connections(vhost)
        yield
    finally:
        api.request("PUT", *place, body=allowed)


def _all_but(name: str, right: str) -> dict[str, str]:
    return {right: f"^(?!{re.escape(name)}$).*$"} if name else {}


@contextlib.contextmanager
def bounded(vhost: Vhost, pattern: str) -> Iterator[None]:
    """A policy by which these queues refuse all but a message or two."""
    try:
        _bound(vhost, pattern, 1)
        yield
    finally:
        # RabbitMQ 3.10 goes on refusing where a limit is cleared that was reached.
        _bound(vhost, pattern, _MANY)
        vhost.broker.management.request("DELETE", "policies", vhost.name, _POLICY)


def _bound(vhost: Vhost, pattern: str, length: int) -> None:
    definition = {"max-length": length, "overflow": "reject-publish"}
    body = {"pattern": pattern, "definition": definition, "apply-to": "queues"}
    vhost.broker.management.request("PUT", "policies", vhost.name, _POLICY, body=body)


@contextlib.contextmanager
def disk_alarm(broker: Broker) -> Iterator[None]:
    """The broker takes its disk for full, and reads nothing from whoever has published."""
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
