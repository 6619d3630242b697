"""The broker says no for a while: to the worker itself, or to what it must publish before it may ack."""

from __future__ import annotations

import contextlib
import functools
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from protocol.delay import enter
from tests.support.administrator import fill_up, unlimit
from tests.support.brokers import Broker
from tests.support.idle import finish
from tests.support.installation import Installation
from tests.support.proxy import Proxy
from tests.support.side_by_side import installed, side_by_side
from tests.support.vhost import Vhost
from tests.support.waiting import eventually

#: How long the next hop refuses, and how long a worker has no permissions.
REFUSED_S = 10.0
FORBIDDEN_S = 6.0
#: Pauses between attempts: up to 5 s for a link, 1, 2, 4 … s for a message.
RECOVERY_S = 10.0
#: Two links, each with random pauses below 0.25, 0.5, 1, 2, 4, 5, 5 … s.
MOST_CONNECTIONS = 40
TASKS = 4
#: Before a retry, in the usual installation; with the jitter, which only adds, it enters the same queue.
NOMINAL_S = 0.5
ALL = {"configure": ".*", "write": ".*", "read": ".*"}


@pytest.mark.timeout(90)
def test_a_worker_that_loses_its_permissions_waits_and_goes_on_once_it_has_them_again(
    broker: Broker, tmp_path: Path
) -> None:
    def lose(lost: str) -> None:
        with installed(broker, tmp_path / lost) as installation, Proxy(broker.host, broker.port) as proxy:
            wait_and_go_on(installation, proxy, lost)

    side_by_side({lost: functools.partial(lose, lost) for lost in ("everything", "read", "write")})


def wait_and_go_on(installation: Installation, proxy: Proxy, lost: str) -> None:
    installation.declare()
    vhost, caller = installation.vhost, installation.caller()
    user = f"user-{secrets.token_hex(4)}"
    management = vhost.broker.management
    management.add_user(user, "secret", vhost.name, ALL)
    try:
        worker = installation.worker(BROKER_URL=f"amqp://{user}:secret@127.0.0.1:{proxy.port}/{vhost.name}")
        journal, gate = installation.journal(), installation.gate()
        held = [caller.asking("hold", {"gate": str(gate), "journal": str(journal)}) for _ in range(TASKS)]
        journal.wait(2)
        permissions("DELETE" if lost == "everything" else "PUT", vhost, user, {**ALL, lost: "^$"})
        # RabbitMQ keeps what a channel may do in mind until the connection is made again.
        before = proxy.accepted
        proxy.reset()
        gate.touch()
        if lost == "write":
            worker.wait_for("not accepted, the delivery stays unacked: this user may not publish")
        else:
            eventually(lambda: proxy.accepted - before >= 3, "a connection that is made in vain", 15)
        refused_s = time.monotonic()
        eventually(lambda: time.monotonic() - refused_s > FORBIDDEN_S, "the end of the refusal", FORBIDDEN_S + 5)
        connections = proxy.accepted - before
        assert worker.is_alive
        # Whoever may still publish answers what it had: its delivery is gone, and the next one meets the ledger.
        assert lost == "read" or not any(asking.done() for asking in held)

        permissions("PUT", vhost, user, ALL)
        granted_s = time.monotonic()
        assert [asking.result(RECOVERY_S * 2).result for asking in held] == [1] * TASKS
        recovery_s = time.monotonic() - granted_s
        assert finish(vhost, worker) == 0
    finally:
        management.remove_user(user)
    duplicated = len(journal.ids) - len(set(journal.ids))
    print(f"{connections} connections in {FORBIDDEN_S:g} s, recovery {recovery_s:.1f} s, duplicated {duplicated}")
    assert (duplicated, vhost.ready("queue_a.dead"), len(set(journal.ids))) == (0, 0, TASKS)
    # Each kind of reason once for each link; one that may connect and not publish stays up.
    assert connections <= (2 if lost == "write" else MOST_CONNECTIONS)
    assert len(worker.lines("link down")) <= (2 if lost == "write" else 4)


def permissions(method: str, vhost: Vhost, user: str, values: dict[str, str]) -> None:
    vhost.broker.management.request(
        method, "permissions", vhost.name, user, body=values if method == "PUT" else None
    )


@contextlib.contextmanager
def full_delay_line(installation: Installation) -> Iterator[None]:
    """The queue that the retries enter is full of what cannot leave it: it is bound for nowhere."""
    vhost, queue = installation.vhost, enter(NOMINAL_S, "fail").exchange
    fill_up(vhost, queue)
    yield
    unlimit(vhost, queue)


@contextlib.contextmanager
def unbound_letters(installation: Installation) -> Iterator[None]:
    """Nothing is bound to the exchange for dead letters."""
    with installation.vhost.channel() as channel:
        channel.queue_unbind("queue_a.dead", "tasks.dead", "queue_a")
    yield
    with installation.vhost.channel() as channel:
        channel.queue_bind("queue_a.dead", "tasks.dead", "queue_a")


Refusal = Callable[[Installation], contextlib.AbstractContextManager[None]]


#: What refuses, the task that needs it, how often that starts, and how many dead letters it leaves.
REFUSALS: dict[str, tuple[Refusal, str, int, int]] = {
    "delay line": (full_delay_line, "fail", 2 * TASKS, 0),
    "dead letters": (unbound_letters, "reject", TASKS, TASKS),
}


@pytest.mark.timeout(90)
def test_nothing_is_acked_while_the_next_hop_refuses_and_everything_goes_on_afterwards(
    broker: Broker, tmp_path: Path
) -> None:
    def refuse(name: str) -> None:
        changes = {"queues": {"queue_a": {"prefetch": TASKS + 1}}, "worker": {"concurrency": 2}}
        with installed(broker, tmp_path / name, **changes) as installation:
            hold_and_go_on(installation, *REFUSALS[name])

    side_by_side({name: functools.partial(refuse, name) for name in REFUSALS})


def hold_and_go_on(installation: Installation, refusal: Refusal, name: str, starts: int, letters: int) -> None:
    worker, vhost, caller = installation.worker(), installation.vhost, installation.caller()
    journal = installation.journal()
    arguments: dict[str, object] = {"journal": str(journal)} | ({"times": 1} if name == "fail" else {})
    with refusal(installation):
        since_s = time.monotonic()
        asked = [caller.asking(name, arguments, timeout_s=60) for _ in range(TASKS)]
        worker.wait_for("not accepted, the delivery stays unacked")
        journal.wait(TASKS)
        # The slots are free, and so is the rest of the prefetch.
        assert caller.ask("note", timeout_s=10).result == 1
        eventually(lambda: time.monotonic() - since_s > REFUSED_S, "the end of the refusal", REFUSED_S + 5)
        eventually(lambda: unacked(vhost) == TASKS, "the count of what is unacked")
        assert not any(asking.done() for asking in asked)
        assert (len(journal.entries), vhost.ready("queue_a.dead")) == (TASKS, 0)
        assert len(worker.lines("not accepted")) == 1
    healed_s = time.monotonic()
    replies = [asking.result(30) for asking in asked]
    print(f"recovery {time.monotonic() - healed_s:.1f} s")
    assert {reply.failure and reply.failure.code for reply in replies} == {"rejected" if letters else None}
    assert finish(vhost, worker) == 0
    assert (len(journal.entries), vhost.ready("queue_a.dead")) == (starts, letters)
    assert len(worker.lines("no longer waiting for exchange")) == 1
    assert not worker.lines("link down")


def unacked(vhost: Vhost) -> int:
    """Of the work queue, as far as the management API knows."""
    return int(vhost.broker.management.queue(vhost.name, "queue_a").get("messages_unacknowledged", -1))
