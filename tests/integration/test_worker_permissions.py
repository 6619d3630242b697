"""A worker and a dispatcher that may do what they need, and nothing else, do all of their work."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from broker import config
from tests.support.caller import Caller
from tests.support.installation import Installation
from tests.support.vhost import Vhost

WORKER = {
    "configure": "^$",
    "write": r"^(tasks\.delay\..*|tasks\.dead|replies|amq\.default)$",
    "read": r"^(queue_a|tasks\.obituaries)$",
}
DISPATCHER = {"configure": "^$", "write": r"^(tasks|tasks\.delay\..*)$", "read": r"^mailbox\.results$"}


@pytest.mark.every_broker
def test_users_without_the_right_to_declare_work_on_a_topology_that_is_there(installation: Installation) -> None:
    installation.declare()
    vhost = installation.vhost
    with _user(vhost, WORKER) as worker_url, _user(vhost, DISPATCHER) as dispatcher_url:
        worker = installation.worker(BROKER_URL=worker_url)
        settings = config.load(None, {**installation.environment, "BROKER_URL": dispatcher_url})
        with Caller(settings) as caller:
            assert caller.ask("echo", {"value": 1}).result == 1
            assert caller.ask("fail", {"times": 1}).run.attempts == 2
            failure = caller.ask("reject").failure
            assert failure is not None
            assert failure.code == "rejected"
            assert caller.ask("note", delay_s=0.2).result == 1
            told = caller.ask("note_b", expires_s=0.2).failure
            assert told is not None
            assert told.code == "expired"
        assert [letter.why.code for letter in vhost.read_dead("queue_a")] == ["rejected"]
        assert not worker.lines("link down")
        worker.sigterm()
        assert worker.wait() == 0


@contextmanager
def _user(vhost: Vhost, permissions: dict[str, str]) -> Iterator[str]:
    """The URL of a user with these permissions on the vhost."""
    name, management = f"user-{secrets.token_hex(4)}", vhost.broker.management
    management.add_user(name, "secret", vhost.name, permissions)
    try:
        yield f"amqp://{name}:secret@{vhost.broker.host}:{vhost.broker.port}/{vhost.name}"
    finally:
        management.remove_user(name)
