"""What an administrator may do to us at any time."""

from __future__ import annotations

from tests.support.management import ManagementError
from tests.support.vhost import Vhost
from tests.support.waiting import eventually


def close_connections(vhost: Vhost) -> None:
    """End every connection of a vhost, as soon as the management API knows of one."""
    management = vhost.broker.management

    def closed() -> bool:
        names = [one["name"] for one in management.connections(vhost.name)]
        try:
            for name in names:
                management.request("DELETE", "connections", name)
        except ManagementError:
            return False
        return bool(names)

    eventually(closed, "the API to know of a connection", 15)


def limit_length(vhost: Vhost, queue: str, length: int) -> None:
    """A policy that bounds a queue."""
    policy = {"pattern": f"^{queue}$", "definition": {"max-length": length}, "apply-to": "queues"}
    vhost.broker.management.request("PUT", "policies", vhost.name, f"limit-{queue}", body=policy)
