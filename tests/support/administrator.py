"""What an administrator may do to us at any time, and see of us."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from pika.exceptions import NackError

from tests.support.brokers import Broker
from tests.support.vhost import Vhost
from tests.support.waiting import eventually


def close_connections(vhost: Vhost) -> None:
    """End every connection of a vhost.

    The node itself does that: the management API would close those that it knows of, and it hears of a connection
    seconds after it was opened.
    """
    vhost.broker.ctl("close_all_connections", "--vhost", vhost.name, "closed by the administrator")


def shown_connections(vhost: Vhost, *names: str) -> list[dict[str, Any]]:
    """What the management API shows of a vhost's connections, as soon as connections whose own names end with
    these are among them."""

    def shown() -> list[dict[str, Any]]:
        connections = vhost.broker.management.connections(vhost.name)
        known = [str(one.get("client_properties", {}).get("connection_name")) for one in connections]
        return connections if all(any(own.endswith(name) for own in known) for name in names) else []

    return eventually(shown, f"the API to know of connections named {names}", 20)


def limit_length(vhost: Vhost, queue: str, length: int, **further: str) -> None:
    """A policy that bounds a queue."""
    policy = {"pattern": f"^{queue}$", "definition": {"max-length": length, **further}, "apply-to": "queues"}
    vhost.broker.management.request("PUT", "policies", vhost.name, f"limit-{queue}", body=policy)


def unlimit(vhost: Vhost, queue: str) -> None:
    """Undo ``limit_length``."""
    vhost.broker.management.request("DELETE", "policies", vhost.name, f"limit-{queue}")


def fill_up(vhost: Vhost, queue: str) -> None:
    """A queue that takes nothing more: its length is bounded by a policy, and it has more already."""
    limit_length(vhost, queue, 1, overflow="reject-publish")
    with vhost.channel() as channel:

        def refuses() -> bool:
            try:
                channel.basic_publish("", queue, b"", mandatory=True)
            except NackError:
                return True
            return False

        eventually(refuses, "the queue to be full")


@contextlib.contextmanager
def small_messages(broker: Broker, size: int) -> Iterator[None]:
    """The broker takes no larger messages, on channels that are opened from now on."""
    # Where RabbitMQ 3 has it, and where RabbitMQ 4 does.
    keep = "application:set_env(rabbit, max_message_size, {0}), persistent_term:put(max_message_size, {0})."
    usual = broker.ctl("eval", "{ok, Bytes} = application:get_env(rabbit, max_message_size), Bytes.").strip()
    broker.ctl("eval", keep.format(size))
    try:
        yield
    finally:
        broker.ctl("eval", keep.format(usual))
