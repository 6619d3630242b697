"""Networks that are slow, dear, or cut everything into single bytes: correct, slower, and never given up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.distant import Distant
from tests.support.link import Way


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("way", "calls"),
    [
        pytest.param(Way(latency_s=0.5, jitter_s=0.4), 60, id="500 ms give or take 400"),
        pytest.param(Way(bytes_per_s=16 * 1024), 150, id="16 KB a second", marks=pytest.mark.long),
        pytest.param(Way(one_byte=True), 200, id="one byte at a time", marks=pytest.mark.long),
    ],
)
def test_a_bad_network_slows_work_down_and_nothing_else(
    distant: Callable[..., Distant], way: Way, calls: int
) -> None:
    site = distant(broker={"heartbeat_s": 4}, worker={"concurrency": 8})
    worker, caller = site.worker(), site.caller()
    for proxy in site.proxies:
        proxy.spoil(to_broker=way, to_client=way)
    verdict = site.verdict(site.load(caller, calls, fails_every=25), worker)
    verdict.check()
    assert verdict.connections == 3
    assert verdict.duplicated == verdict.delivered_again == 0
