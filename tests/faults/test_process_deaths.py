"""Workers killed under load, and children that run out of memory or hang."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.support.distant import Distant
from tests.support.idle import finish
from tests.support.installation import Install

KILLS = 3
PREFETCH = 4
RECOVERY_S = 10.0
_HANDLERS = "tests.support.fault_handlers"


@pytest.mark.timeout(120)
def test_workers_killed_under_load_cost_no_task_and_at_most_a_prefetch_of_runs_each(
    distant: Callable[..., Distant],
) -> None:
    site = distant(queues={"queue_a": {"prefetch": PREFETCH}})
    workers = [site.worker(), site.worker()]
    load = site.load(site.caller(), seconds=0.02, fails_every=10)
    for _ in range(KILLS):
        load.progress(since_s=time.monotonic())
        victim = workers.pop(0)
        victim.sigkill()
        victim.wait()
        load.progress(since_s=time.monotonic(), within_s=RECOVERY_S)
        workers.append(site.worker())
    verdict = site.verdict(load, *workers)
    verdict.check()
    # Half a pair of links dies with each worker; nobody else's connection is touched.
    assert verdict.connections == 2 * (2 + KILLS) + 1
    assert verdict.duplicated <= KILLS * PREFETCH


@pytest.mark.parametrize(
    ("task", "timeout_s", "code", "error"),
    [("starve", 30.0, "retries_exhausted", "MemoryError"), ("hang", 1.0, "timed_out", "TimeLimit")],
)
def test_a_child_that_starves_or_hangs_harms_its_own_task_alone(
    install: Install, task: str, timeout_s: float, code: str, error: str
) -> None:
    installation = install(
        defaults={"retry": {"max_retries": 1, "backoff_s": [0.1]}},
        tasks={task: {"queue": "queue_a", "handler": f"{_HANDLERS}:{task}", "timeout_s": timeout_s}},
    )
    worker, caller, vhost = installation.worker(), installation.caller(), installation.vhost
    journal, others = installation.journal(), installation.journal()
    sick = caller.asking(task, {"journal": str(journal)})
    well = [caller.asking("note", {"journal": str(others)}) for _ in range(100)]
    reply = sick.result(30)
    assert reply.failure is not None
    assert (reply.failure.code, reply.failure.type, reply.run.attempts) == (code, error, 2)
    assert [asking.result(30).result for asking in well] == [1] * 100
    assert (len(others.entries), len(journal.entries)) == (100, 2)
    assert finish(vhost, worker) == 0
    (letter,) = vhost.read_dead("queue_a")
    assert (letter.properties.message_id, vhost.ready("queue_a.dead")) == (reply.id, 0)
    assert not worker.lines("link down")
