"""An administrator takes away what a login needs: the user, its password, its vhost, room for connections."""

from __future__ import annotations

import contextlib
import functools
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dispatcher.errors import NoReply
from tests.support.brokers import Broker
from tests.support.distant import Distant
from tests.support.idle import finish
from tests.support.installation import Installation
from tests.support.proxy import Proxy
from tests.support.side_by_side import installed, side_by_side
from tests.support.waiting import eventually

REFUSED_S = 6.0
RECOVERY_S = 10.0
#: Three links, each with random pauses below 0.25, 0.5, 1, 2, 4, 5, 5 … s.
MOST_CONNECTIONS = 60
CALLS = 6
#: Each may take so long; none whose queue was deleted ends before it.
CALL_S = 12.0
ALL = {"configure": ".*", "write": ".*", "read": ".*"}
_PASSWORD = "secret"


class Tenant(Distant):
    """Its workers and dispatchers log in as a user of their own."""

    def __init__(self, installation: Installation, workers: Proxy, dispatchers: Proxy) -> None:
        super().__init__(installation, workers, dispatchers)
        self.user = f"user-{secrets.token_hex(4)}"
        self.management = self.vhost.broker.management

    def add_user(self) -> None:
        self.management.add_user(self.user, _PASSWORD, self.vhost.name, ALL)

    def set_password(self, password: str) -> None:
        self.management.request("PUT", "users", self.user, body={"password": password, "tags": ""})

    def url(self, *proxies: Proxy) -> str:
        broker = self.vhost.broker
        return super().url(*proxies).replace(f"{broker.user}:{broker.password}@", f"{self.user}:{_PASSWORD}@")

    def reset(self) -> None:
        for proxy in self.proxies:
            proxy.reset()


@contextlib.contextmanager
def deleted_user(site: Tenant) -> Iterator[None]:
    site.management.remove_user(site.user)
    yield
    site.add_user()


@contextlib.contextmanager
def changed_password(site: Tenant) -> Iterator[None]:
    """RabbitMQ asks for it again when a connection is made again."""
    site.set_password("another")
    site.reset()
    yield
    site.set_password(_PASSWORD)


@contextlib.contextmanager
def full_vhost(site: Tenant) -> Iterator[None]:
    """It may have no connection more."""
    limit = ("vhost-limits", site.vhost.name, "max-connections")
    site.management.request("PUT", *limit, body={"value": 0})
    site.reset()
    yield
    site.management.request("DELETE", *limit)


Loss = Callable[[Tenant], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def tenancy(broker: Broker, folder: Path) -> Iterator[Tenant]:
    step = {"queue": "queue_a", "handler": "tests.support.network_handlers:step"}
    with contextlib.ExitStack() as stack:
        installation = stack.enter_context(installed(broker, folder, tasks={"step": step}))
        tenant = Tenant(installation, *(stack.enter_context(Proxy(broker.host, broker.port)) for _ in range(2)))
        stack.callback(tenant.management.remove_user, tenant.user)
        tenant.add_user()
        yield stack.enter_context(contextlib.closing(tenant))


@pytest.fixture
def tenant(broker: Broker, tmp_path: Path) -> Iterator[Tenant]:
    with tenancy(broker, tmp_path / "tenant") as tenant:
        yield tenant


@pytest.mark.timeout(90)
def test_a_client_that_is_refused_a_login_tries_again_until_it_is_granted(broker: Broker, tmp_path: Path) -> None:
    losses: dict[str, Loss] = {"user": deleted_user, "password": changed_password, "room": full_vhost}

    def lose(name: str) -> None:
        with tenancy(broker, tmp_path / name) as tenant:
            try_until_granted(tenant, losses[name])

    side_by_side({name: functools.partial(lose, name) for name in losses})


def try_until_granted(tenant: Tenant, loss: Loss) -> None:
    worker = tenant.worker()
    load = tenant.load(tenant.caller(), seconds=0.02, fails_every=25)
    load.progress(since_s=time.monotonic())
    before = tenant.workers.accepted
    with loss(tenant):
        eventually(lambda: tenant.workers.accepted - before >= 4, "a second attempt of both links", 15)
        since_s = time.monotonic()
        eventually(lambda: time.monotonic() - since_s > REFUSED_S, "the end of the refusal", REFUSED_S + 5)
        assert worker.is_alive
        assert not [at for at in load.times if at > since_s]
    connections = sum(proxy.accepted for proxy in tenant.proxies)
    recovery_s = load.progress(since_s=time.monotonic(), within_s=RECOVERY_S)
    verdict = tenant.verdict(load, worker)
    print(f"{connections} connections, recovery {recovery_s:.2f} s")
    verdict.check()
    assert connections <= MOST_CONNECTIONS
    assert worker.lines("refused the login") or worker.lines("refused the virtual host")
    assert _PASSWORD not in worker.log
    # Lost, and refused: each is told once for each link.
    assert len(worker.lines("link down")) <= 6


@pytest.mark.timeout(90)
def test_after_a_vhost_was_deleted_and_made_again_work_goes_on_and_no_call_outlives_its_deadline(
    tenant: Tenant,
) -> None:
    """RabbitMQ deletes all that is in it. A worker makes the topology again; calls end as done or unknown."""
    worker, caller, vhost = tenant.worker(), tenant.caller(), tenant.vhost
    journal, gate = tenant.installation.journal(), tenant.installation.gate()
    asked = [
        caller.asking("hold", {"gate": str(gate), "journal": str(journal)}, timeout_s=CALL_S) for _ in range(CALLS)
    ]
    asked_s = time.monotonic()
    journal.wait(2)
    tenant.management.remove_vhost(vhost.name)
    worker.wait_for("refused the virtual host", count=2)
    tenant.management.add_vhost(vhost.name)
    tenant.management.request("PUT", "permissions", vhost.name, tenant.user, body=ALL)
    made_s = time.monotonic()
    worker.wait_for("a queue is missing and is declared again", RECOVERY_S)
    worker.wait_for("consume link up again", RECOVERY_S)
    recovery_s = time.monotonic() - made_s
    gate.touch()
    ends = [asking.exception(CALL_S + 5) for asking in asked]
    ended_s = time.monotonic() - asked_s
    assert caller.ask("note", timeout_s=RECOVERY_S).result == 1
    assert finish(vhost, worker) == 0
    unknown = [end for end in ends if isinstance(end, NoReply)]
    print(f"consuming again after {recovery_s:.1f} s; answered {ends.count(None)}, unknown {len(unknown)}")
    assert ends.count(None) + len(unknown) == CALLS
    assert recovery_s < RECOVERY_S
    assert ended_s < CALL_S + 2
