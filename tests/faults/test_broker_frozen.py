"""The broker hangs for a whole minute: its sockets stay open, new ones are taken, and nobody answers."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from dispatcher.errors import NoReply
from tests.support.distant import Distant
from tests.support.waiting import eventually

FROZEN_S = 60.0
HEARTBEAT_S = 4
#: pika looks every heartbeat + 5 s, and gives up after an interval in vain.
SILENCE_S = 2 * (HEARTBEAT_S + 5)
RECOVERY_S = 10.0
#: Of calls that do not wait for the end of it.
IMPATIENT_S = 10.0
CALLS = 5
LINKS = 2
#: An attempt takes its 5 s in vain, after a random pause below 5 s.
MOST_ATTEMPTS = 40


@pytest.mark.own_broker
@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_broker_that_hangs_for_a_minute_costs_no_task_and_no_call_hangs_with_it(
    distant: Callable[..., Distant],
) -> None:
    site = distant(broker={"heartbeat_s": HEARTBEAT_S})
    worker, caller, broker = site.worker(), site.caller(), site.vhost.broker
    load = site.load(caller, seconds=0.02, fails_every=25, timeout_s=FROZEN_S + 60)
    load.progress(since_s=time.monotonic())
    before = sum(proxy.accepted for proxy in site.proxies)
    broker.pause()
    frozen_s = time.monotonic()
    try:
        asked = [caller.asking("note", timeout_s=IMPATIENT_S) for _ in range(CALLS)]
        errors = [asking.exception(IMPATIENT_S + 5) for asking in asked]
        ended_s = time.monotonic() - frozen_s
        eventually(lambda: site.workers.accepted >= 2 * LINKS, "both links to notice", SILENCE_S + 5)
        noticed_s = time.monotonic() - frozen_s
        eventually(lambda: time.monotonic() - frozen_s > FROZEN_S, "the end of the minute", FROZEN_S + 5)
        attempts = sum(proxy.accepted for proxy in site.proxies) - before
        assert worker.is_alive
    finally:
        broker.unpause()
    recovery_s = load.progress(since_s=time.monotonic(), within_s=RECOVERY_S)
    load.progress(since_s=time.monotonic())
    verdict = site.verdict(load, worker)
    print(f"noticed within {noticed_s:.1f} s, {attempts} attempts in vain, recovery {recovery_s:.2f} s")
    verdict.check()
    assert [type(error) for error in errors] == [NoReply] * CALLS
    assert ended_s < IMPATIENT_S + 2
    assert noticed_s < SILENCE_S + 5
    assert attempts <= MOST_ATTEMPTS
    for link in ("consume", "publish"):
        # Each kind of reason is told once.
        assert 1 <= len(worker.lines(f"{link} link down")) <= 3
