"""The broker stops, is killed, freezes or runs out of memory under load: nothing is lost, and work goes on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.distant import Distant
from tests.support.waiting import eventually

HEARTBEAT_S = 4
#: pika looks every heartbeat + 5 s, and gives up after an interval in vain.
SILENCE_S = 2 * (HEARTBEAT_S + 5)
FREEZE_S = 20.0
ALARM_S = 8.0
#: Work must flow again so long after a fault is over.
RECOVERY_S = 10.0
#: RabbitMQ itself may lose a quorum queue that is killed within a second of its declaration.
SETTLED_S = 3.0
SECONDS = 0.02
#: Of a worker.
LINKS = 2

Outage = Callable[[Distant], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def stopped(site: Distant) -> Iterator[None]:
    """Stopped in good order, as for an upgrade."""
    broker = site.vhost.broker
    broker.ctl("stop_app")
    try:
        yield
    finally:
        broker.ctl("start_app")
        eventually(broker.management.answers, "the management API", 30)


@contextlib.contextmanager
def killed(site: Distant) -> Iterator[None]:
    site.vhost.broker.kill()
    yield
    site.vhost.broker.restart()


@contextlib.contextmanager
def frozen(site: Distant) -> Iterator[None]:
    """Its sockets stay open and nobody answers: only heartbeats can tell."""
    site.vhost.broker.pause()
    since_s = time.monotonic()
    yield
    eventually(lambda: time.monotonic() - since_s > FREEZE_S, "the end of the freeze", FREEZE_S + 5)
    site.vhost.broker.unpause()


@pytest.mark.own_broker
@pytest.mark.timeout(150)
@pytest.mark.parametrize(("outage", "noticed_s"), [(stopped, 5), (killed, 5), (frozen, SILENCE_S)])
def test_an_outage_is_noticed_and_survived(
    distant: Callable[..., Distant], outage: Outage, noticed_s: float
) -> None:
    site = distant(broker={"heartbeat_s": HEARTBEAT_S})
    worker = site.worker()
    ready_s = time.monotonic()
    load = site.load(site.caller(), seconds=SECONDS, fails_every=25)
    eventually(lambda: time.monotonic() - ready_s > SETTLED_S, "a settled topology")
    load.progress(since_s=time.monotonic())
    with outage(site):
        eventually(lambda: site.workers.accepted >= 2 * LINKS, "an attempt to connect again", noticed_s + 1)
    recovery_s = load.progress(since_s=time.monotonic(), within_s=RECOVERY_S)
    load.progress(since_s=time.monotonic())
    verdict = site.verdict(load, worker)
    print(f"recovery {recovery_s:.2f} s")
    verdict.check()
    for link in ("consume", "publish"):
        assert len(worker.lines(f"{link} link up again")) == 1
        # Each kind of reason is told once: lost, unreachable, refused.
        assert 1 <= len(worker.lines(f"{link} link down")) <= 3


@pytest.mark.own_broker
@pytest.mark.timeout(90)
def test_a_memory_alarm_loses_nothing_and_ends_no_connection(distant: Callable[..., Distant]) -> None:
    site = distant(broker={"heartbeat_s": HEARTBEAT_S})
    worker, broker = site.worker(), site.vhost.broker
    load = site.load(site.caller(), seconds=SECONDS, fails_every=25)
    load.progress(since_s=time.monotonic())
    with broker.alarm():
        worker.wait_for("link blocked")
        since_s = time.monotonic()
        eventually(lambda: time.monotonic() - since_s > ALARM_S, "two heartbeats under the alarm", ALARM_S + 5)
        assert not [at for at in load.times if at > since_s + 1], "a reply was published under the alarm"
    recovery_s = load.progress(since_s=time.monotonic(), within_s=RECOVERY_S)
    verdict = site.verdict(load, worker)
    print(f"recovery {recovery_s:.2f} s")
    verdict.check()
    assert (verdict.connections, verdict.duplicated, verdict.delivered_again) == (3, 0, 0)
    assert not worker.lines("link down")
