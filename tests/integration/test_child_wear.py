"""Children that are replaced after so many tasks, or with so much memory, between two tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from dispatcher.window import Ended
from protocol.reply import Reply
from tests.support.health import Health
from tests.support.installation import Install
from tests.support.processes import descendants, is_running
from tests.support.waiting import eventually

HANDLERS = """
import os, subprocess

kept = []

def hoard(megabytes):
    kept.append(os.urandom(megabytes << 20))
    return os.getpid()

def bear():
    return subprocess.Popen(["sleep", "60"]).pid
"""
ONCE = {"retry": {"max_retries": 0}}


@pytest.mark.parametrize("together", [False, True], ids=["singly", "in batches"])
def test_a_child_does_as_many_tasks_as_it_may_and_no_more(install: Install, together: bool) -> None:
    installation = install(worker={"max_tasks_per_child": 3}, defaults=ONCE)
    worker, caller, journal = installation.worker(), installation.caller(), installation.journal()
    arguments = [{"journal": str(journal)}] * 40
    if together:
        ended = caller.run(_all(caller.dispatcher.map("note", arguments, batch=20)))
        assert [one.end.run.attempts for one in ended if isinstance(one.end, Reply)] == [1] * 40
    else:
        asked = [caller.asking("note", one) for one in arguments]
        assert [one.result(60).run.attempts for one in asked] == [1] * 40
    of_each = Counter(entry["pid"] for entry in journal.entries)
    assert of_each.total() == 40
    assert max(of_each.values()) == 3
    # All but the two that work now have done what they may.
    assert sum(count < 3 for count in of_each.values()) <= 2
    # Nothing was lost with them.
    Health(worker).wait({("child_restarts_total",): 0})
    assert not worker.lines("ChildLost")


def test_a_child_that_keeps_more_memory_than_it_may_is_replaced(install: Install) -> None:
    tasks = {"hoard": {"queue": "queue_a", "handler": "hoarders:hoard"}}
    installation = install(worker={"max_memory_per_child_mb": 130, "concurrency": 1}, tasks=tasks, defaults=ONCE)
    (installation.folder / "hoarders.py").write_text(HANDLERS)
    installation.worker()
    caller = installation.caller()
    pids = [caller.ask("hoard", {"megabytes": 60}).result for _ in range(6)]
    # One has 60 and 120 MiB beside its own, which are not enough, and too much.
    assert sorted(Counter(pids).values()) == [2, 2, 2]


def test_what_a_child_has_started_ends_with_it(install: Install) -> None:
    tasks = {"bear": {"queue": "queue_a", "handler": "hoarders:bear"}}
    installation = install(worker={"max_tasks_per_child": 1}, tasks=tasks, defaults=ONCE)
    (installation.folder / "hoarders.py").write_text(HANDLERS)
    worker = installation.worker()
    started = installation.caller().ask("bear").result
    eventually(lambda: not is_running(started), "the end of what it started")
    eventually(lambda: len(descendants(worker.pid)) == 2, "two children again")


async def _all(ends: AsyncIterator[Ended]) -> list[Ended]:
    return [one async for one in ends]
