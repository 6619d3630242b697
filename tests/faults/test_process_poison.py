"""A task that kills the worker itself, each time: it alone is buried, and those beside it are done."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.idle import finish
from tests.support.installation import Install
from tests.support.supervisor import Supervisor

GOOD = 1000
#: Low, so that the culprit's company has few crashes in which to get away.
LIMIT = 5
WITHIN_S = 120


@pytest.mark.every_broker(long=True)
@pytest.mark.timeout(WITHIN_S + 60)
def test_a_poison_among_1000_tasks_is_buried_at_its_delivery_limit_and_nobody_else_is(install: Install) -> None:
    installation = install(
        queues={"queue_a": {"delivery_limit": LIMIT}},
        tasks={"kill_worker": {"queue": "queue_a", "handler": "tests.support.fault_handlers:kill_worker"}},
    )
    vhost, caller = installation.vhost, installation.caller()
    journal, poisoned = installation.journal(), installation.journal()
    installation.declare()
    good = [caller.asking("note", {"journal": str(journal)}, timeout_s=WITHIN_S) for _ in range(GOOD // 2)]
    poison = caller.asking("kill_worker", {"journal": str(poisoned)}, timeout_s=WITHIN_S)
    good += [caller.asking("note", {"journal": str(journal)}, timeout_s=WITHIN_S) for _ in range(GOOD // 2)]
    with Supervisor(installation) as supervisor:
        failure = poison.result(WITHIN_S).failure
        replies = [asking.result(WITHIN_S) for asking in good]
    stuck = finish(vhost, supervisor.worker)

    starts = Counter(journal.ids)
    print(
        f"{supervisor.deaths} workers died; of {GOOD} good tasks {len(journal.ids) - GOOD} were started again, "
        f"none more than {max(starts.values())} times; {vhost.ready('queue_a.dead')} dead, {stuck} stuck"
    )
    assert failure is not None
    assert failure.code == "delivery_limit"
    assert [reply.failure for reply in replies] == [None] * GOOD
    (letter,) = vhost.read_dead("queue_a")
    assert (letter.reason.code, letter.properties.message_id) == ("delivery_limit", poison.result().id)
    assert (vhost.ready("queue_a.dead"), stuck) == (0, 0)
    assert supervisor.deaths == len(poisoned.entries) == LIMIT + 1
    assert len(starts) == GOOD
    assert max(starts.values()) <= LIMIT
