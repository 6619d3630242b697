"""Connections that are reset again and again, or closed by an administrator, under load."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable

import pytest

from tests.support.distant import Distant

STORM_S = 20.0
#: Work must flow again so long after a fault is over.
RECOVERY_S = 10.0
SEED = 7


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.timeout(150)
def test_a_storm_of_resets_costs_no_task_and_no_call(distant: Callable[..., Distant]) -> None:
    site = distant()
    workers = [site.worker(), site.worker()]
    with_caller = site.caller()
    load = site.load(with_caller, fails_every=20)
    load.progress()
    before = [descriptors(worker.pid) for worker in workers]
    chance, calm = random.Random(SEED), threading.Event()
    end = time.monotonic() + STORM_S
    resets = 0
    while time.monotonic() < end:
        calm.wait(chance.uniform(0.2, 2.0))
        resets += chance.choice(site.proxies).reset()
    last = time.monotonic()
    recovery_s = load.progress(since_s=last, within_s=RECOVERY_S)
    load.wait()
    after = [descriptors(worker.pid) for worker in workers]
    verdict = site.verdict(load, *workers)
    print(f"resets {resets}, recovery {recovery_s:.2f} s, descriptors {before} then {after}")
    verdict.check()
    assert resets > STORM_S / 2
    assert max(late - early for late, early in zip(after, before, strict=True)) <= 2


@pytest.mark.timeout(90)
def test_connections_closed_by_an_administrator_are_made_again(distant: Callable[..., Distant]) -> None:
    site = distant()
    workers = [site.worker()]
    load = site.load(site.caller())
    recoveries_s = []
    for _ in range(2):
        load.progress(since_s=time.monotonic())
        site.vhost.broker.ctl("close_all_connections", "--vhost", site.vhost.name, "by the administrator")
        recoveries_s.append(load.progress(since_s=time.monotonic(), within_s=RECOVERY_S))
    verdict = site.verdict(load, *workers)
    print("recoveries", [f"{seconds:.2f} s" for seconds in recoveries_s])
    verdict.check()
    # Two of the worker and one of the dispatcher, each time; one that was being set up is closed as well.
    closed = [event for proxy in site.proxies for event in proxy.events("close", by="broker", code=320)]
    assert len(closed) >= 6
