"""A task that kills the worker itself, each time: it alone is buried, and those beside it are done."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.installation import Install
from tests.support.quiet import finish
from tests.support.supervisor import Supervisor

GOOD = 1000
LIMIT = 5


@pytest.mark.timeout(180)
def test_a_poison_among_1000_tasks_is_buried_after_its_delivery_limit_and_buries_nobody_else(
    install: Install,
) -> None:
    installation = install(
        queues={"queue_a": {"delivery_limit": LIMIT}},
        tasks={"kill_worker": {"queue": "queue_a", "handler": "tests.support.fault_handlers:kill_worker"}},
    )
    vhost, caller, journal = installation.vhost, installation.caller(), installation.journal()
    poisoned = installation.journal()
    installation.declare()
    asked = [caller.asking("note", {"journal": str(journal)}, timeout_s=120) for _ in range(GOOD // 2)]
    poison = caller.asking("kill_worker", {"journal": str(poisoned)}, timeout_s=120)
    asked += [caller.asking("note", {"journal": str(journal)}, timeout_s=120) for _ in range(GOOD // 2)]
    with Supervisor(installation) as supervisor:
        failure = poison.result(120).failure
        replies = [asking.result(120) for asking in asked]
    assert finish(vhost, supervisor.worker) == 0

    assert failure is not None
    assert failure.code == "delivery_limit"
    failed = Counter(reply.failure.code for reply in replies if reply.failure)
    letters = vhost.read_dead("queue_a", vhost.ready("queue_a.dead"))
    starts = Counter(journal.ids)
    again = sum(count - 1 for count in starts.values())
    print(f"deaths {supervisor.deaths}, poison started {len(poisoned.entries)}, good: failed {failed},"
          f" started again {again} at most {max(starts.values())} times, letters {len(letters)}")
    assert (len(letters), sum(failed.values())) == (1, 0)
