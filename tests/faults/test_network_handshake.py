"""Hosts that take a connection and say nothing, or end it half-way: the next is tried, and nobody is blamed."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from broker.amqp.connection import connect
from broker.config.endpoint import parse_endpoint
from broker.errors import Starting, Unreachable
from tests.faults.conftest import Proxies
from tests.support.caller import Caller
from tests.support.distant import Distant
from tests.support.link import CLEAR, Way
from tests.support.waiting import eventually, run

CONNECT_S = 1.0
#: Connections, of which a few end at the worst moment.
RESETS = 200
#: What nobody should have to wait for.
WAITED_S = 5.0
#: How much of what the broker says passes: nothing, half of ``connection.start``, that and ``tune``, and so on.
CUTS = (1, 200, 480, 510, 530, 560)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", ["hang", "refuse"])
def test_when_a_host_does_not_answer_the_next_of_the_list_is_tried(
    distant: Callable[..., Distant], proxies: Proxies, how: str
) -> None:
    site = distant(broker={"connect_timeout_s": CONNECT_S})
    site.worker()
    dead = [proxies(), proxies()]
    for proxy in dead:
        proxy.welcome("hang" if how == "hang" else "refuse")
    seconds = []
    for _ in range(8):
        started = time.monotonic()
        with Caller(site.settings(*dead, site.dispatchers)) as caller:
            seconds.append(time.monotonic() - started)
            assert caller.ask("echo", {"value": 1}).result == 1
    print("connected after", [f"{one:.2f} s" for one in seconds])
    assert max(seconds) < (len(dead) + 1) * CONNECT_S + 1.0
    if how == "hang":
        assert any(proxy.accepted for proxy in dead)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("passes", CUTS)
def test_a_handshake_that_is_cut_is_reported_as_a_lost_host_and_not_as_a_refused_login(
    distant: Callable[..., Distant], passes: int
) -> None:
    site = distant(broker={"connect_timeout_s": CONNECT_S})
    site.installation.declare()
    site.dispatchers.spoil(to_client=Way(limit_bytes=passes))
    with pytest.raises(Unreachable) as caught, Caller(site.settings()):
        pass
    print(f"{passes} bytes: {site.dispatchers.accepted} connections, {caught.value}")
    site.dispatchers.heal()
    with Caller(site.settings()):
        pass


@pytest.mark.timeout(90)
def test_a_worker_whose_handshakes_are_cut_comes_back_when_they_are_not(distant: Callable[..., Distant]) -> None:
    site = distant(broker={"connect_timeout_s": CONNECT_S})
    worker = site.worker()
    load = site.load(site.caller())
    for passes in CUTS:
        load.progress(since_s=time.monotonic())
        before = site.workers.accepted
        site.workers.spoil(to_client=Way(limit_bytes=passes))
        eventually(lambda: site.workers.accepted >= before + 3, "attempts that are cut")  # noqa: B023
        site.workers.spoil(to_client=CLEAR)
    verdict = site.verdict(load, worker)
    verdict.check()


def test_a_host_that_resets_whatever_it_takes_is_reported_at_once_each_time(proxies: Proxies) -> None:
    """As the port of a container does whose broker is starting; now and then before a byte was said."""
    proxy = proxies()
    proxy.welcome("drop")
    endpoint = parse_endpoint(f"amqp://guest:guest@127.0.0.1:{proxy.port}/")

    async def attempts() -> float:
        longest_s = 0.0
        for _ in range(RESETS):
            started_s = time.monotonic()
            with pytest.raises(Starting):
                await connect(endpoint, name="test", heartbeat_s=30, timeout_s=WAITED_S)
            longest_s = max(longest_s, time.monotonic() - started_s)
        return longest_s

    assert run(attempts()) < WAITED_S
