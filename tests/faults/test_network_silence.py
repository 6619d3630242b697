"""A network that passes nothing, in one direction or both: noticed by heartbeats, given up, made again."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.errors import ConnectionLost
from tests.support.brokers import Broker
from tests.support.caller import Caller
from tests.support.distant import Distant
from tests.support.link import CLEAR, SILENT, Way
from tests.support.proxy import Proxy
from tests.support.side_by_side import installed, proxied, side_by_side
from tests.support.waiting import eventually

HEARTBEAT_S = 4
#: The broker looks twice a heartbeat and gives up after two in vain.
BROKER_NOTICES_S = 3 * HEARTBEAT_S
#: pika looks every heartbeat + 5 s, and gives up after an interval in vain.
PIKA_NOTICES_S = 2 * (HEARTBEAT_S + 5)
RECOVERY_S = 10.0
_SLACK_S = 1.0
STEP = {"step": {"queue": "queue_a", "handler": "tests.support.network_handlers:step"}}


#: What passes to the broker, what passes to the client, and when both have noticed.
DIRECTIONS = {
    "client to broker": (SILENT, CLEAR, BROKER_NOTICES_S),
    "broker to client": (CLEAR, SILENT, PIKA_NOTICES_S),
    "both": (SILENT, SILENT, PIKA_NOTICES_S),
}


@pytest.mark.timeout(120)
def test_silence_is_noticed_by_worker_and_dispatcher_and_costs_nothing(broker: Broker, tmp_path: Path) -> None:
    def fall_silent(name: str) -> None:
        changes = {"broker": {"heartbeat_s": HEARTBEAT_S}, "tasks": STEP}
        with installed(broker, tmp_path / name, **changes) as installation, proxied(installation) as site:
            notice_and_recover(site, *DIRECTIONS[name])

    side_by_side({name: functools.partial(fall_silent, name) for name in DIRECTIONS})


def notice_and_recover(site: Distant, to_broker: Way, to_client: Way, within_s: float) -> None:
    worker, caller = site.worker(), site.caller()
    load = site.load(caller, window=20, seconds=0.02)
    load.progress()
    started = time.monotonic()
    present = {proxy: [link.number for link in proxy.live] for proxy in site.proxies}
    assert [len(numbers) for numbers in present.values()] == [2, 1]
    for proxy in site.proxies:
        proxy.spoil(to_broker=to_broker, to_client=to_client)
    eventually(
        lambda: all(ends(proxy).keys() >= set(numbers) for proxy, numbers in present.items()),
        "the end of all connections that were there",
        within_s + _SLACK_S,
    )
    noticed = {
        who: max(ends(proxy)[number] for number in present[proxy]) - started
        for who, proxy in (("worker", site.workers), ("dispatcher", site.dispatchers))
    }
    for proxy in site.proxies:
        proxy.heal()
    recovery_s = load.progress(since_s=time.monotonic(), within_s=RECOVERY_S)
    verdict = site.verdict(load, worker)
    print(", ".join(f"{who} noticed after {seconds:.1f} s" for who, seconds in noticed.items()), end=", ")
    print(f"recovery {recovery_s:.2f} s")
    verdict.check()


@pytest.mark.timeout(60)
def test_a_dispatcher_that_is_closed_on_a_silent_network_leaves_no_socket(
    distant: Callable[..., Distant],
) -> None:
    site = distant()
    before = sockets()
    with Caller(site.settings()) as caller:
        asking = caller.asking("step", {"journal": str(site.installation.journal()), "number": 1})
        eventually(lambda: site.dispatchers.events("publish"), "the task")
        site.dispatchers.spoil(to_broker=SILENT, to_client=SILENT)
    with pytest.raises(ConnectionLost):
        asking.result(5)
    site.dispatchers.reset()
    eventually(lambda: sockets() == before, "as many sockets as before")


def sockets() -> int:
    """Of this process."""
    links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    return sum(os.readlink(link).startswith("socket:") for link in links if os.path.lexists(link))


def ends(proxy: Proxy) -> dict[int, float]:
    """When each connection ended for the client."""
    return {event.connection: event.at for event in proxy.events("end")}
