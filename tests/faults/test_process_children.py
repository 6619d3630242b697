"""Children of a worker that are killed from outside or run out of memory at any moment, under load."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.distant import Distant
from tests.support.idle import finish
from tests.support.installation import Install
from tests.support.waiting import eventually

KILLS = 20
CONCURRENCY = 4
#: A child is a fresh interpreter.
REPLACED_S = 10.0
BIG = bytes(900_000)
CALLS = 6
_LEAVES_BYTES = 1 << 18


def children(pid: int) -> list[int]:
    """Of all threads of a process that runs; of a worker that forks its children, these."""
    found: list[int] = []
    for task in Path("/proc", str(pid), "task").iterdir():
        # A thread may end while this looks at it.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, (task / "children").read_text().split())
    zygotes = [one for one in found if one != pid and is_zygote(one) and not is_zygote(pid)]
    return [one for one in found if one not in zygotes] + [one for zygote in zygotes for one in children(zygote)]


def is_zygote(pid: int) -> bool:
    """Whether it is one, or a fork of one."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return b"zygote_main" in Path("/proc", str(pid), "cmdline").read_bytes()
    return False


def size_bytes(pid: int) -> int:
    """Of its address space."""
    return int(Path("/proc", str(pid), "statm").read_text().split()[0]) * resource.getpagesize()


@pytest.mark.timeout(120)
def test_children_that_the_kernel_kills_cost_their_task_one_attempt_and_nobody_else_any(
    distant: Callable[..., Distant],
) -> None:
    site = distant(worker={"concurrency": CONCURRENCY}, defaults={"retry": {"max_retries": 10}})
    worker = site.worker()
    load = site.load(site.caller(), seconds=0.02, fails_every=25)
    victims = 0
    for number, signum in zip(range(KILLS), itertools.cycle((signal.SIGKILL, signal.SIGSEGV)), strict=False):
        load.progress(since_s=time.monotonic())
        pids = eventually(lambda: children(worker.pid), "a child", REPLACED_S)
        # It may have been the last one's victim.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[number % len(pids)], signum)
            victims += 1
    eventually(lambda: len(children(worker.pid)) == CONCURRENCY, "all children again", REPLACED_S)
    verdict = site.verdict(load, worker)
    lost = worker.lines("ChildLost")
    print(f"{victims} children killed, {len(lost)} of them at work")
    verdict.check()
    assert (verdict.duplicated, verdict.connections) == (0, 3)
    assert not worker.lines("link down")
    assert 1 <= len(lost) <= victims


@pytest.mark.timeout(90)
def test_children_without_memory_fail_what_needs_it_and_do_the_rest(install: Install) -> None:
    """Memory may run out anywhere in a child: while it reads a task, runs it, or packs its result."""
    installation = install(worker={"concurrency": 2}, defaults={"retry": {"max_retries": 1, "backoff_s": [0.1]}})
    worker, caller, vhost = installation.worker(), installation.caller(), installation.vhost
    journal = installation.journal()
    squeezed = children(worker.pid)
    for pid in squeezed:
        resource.prlimit(pid, resource.RLIMIT_AS, (size_bytes(pid) + _LEAVES_BYTES, resource.RLIM_INFINITY))
    needy = [caller.asking("echo", {"value": BIG}) for _ in range(CALLS)]
    modest = [caller.asking("note", {"journal": str(journal)}) for _ in range(100)]
    assert [asking.result(30).result for asking in modest] == [1] * len(modest)
    replies = [asking.result(30) for asking in needy]
    for pid in set(squeezed) & set(children(worker.pid)):
        resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    again = caller.ask("echo", {"value": BIG})
    assert finish(vhost, worker) == 0
    failures = [reply.failure for reply in replies if reply.failure is not None]
    attempts = [reply.run.attempts for reply in replies]
    print(f"failed {len(failures)} of {CALLS}: {[(one.code, one.type) for one in failures]}, attempts {attempts}")
    assert max(attempts) > 1
    assert {failure.code for failure in failures} <= {"retries_exhausted", "worker_lost"}
    assert all(reply.result == BIG for reply in replies if reply.failure is None)
    assert again.result == BIG
    assert vhost.ready("queue_a.dead") == len(failures)
    assert len(journal.entries) == len(modest)
    assert not worker.lines("link down")


@pytest.mark.timeout(60)
def test_a_child_that_died_with_nothing_to_do_costs_no_task_an_attempt(install: Install) -> None:
    installation = install(defaults={"retry": {"max_retries": 0}})
    worker, caller, journal = installation.worker(), installation.caller(), installation.journal()
    victims = set(children(worker.pid))
    assert len(victims) == 2
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not victims & set(children(worker.pid)), "the end of both children")
    asking = [caller.asking("note", {"journal": str(journal)}) for _ in range(3)]
    assert [one.result(30).failure for one in asking] == [None] * 3
    assert len(journal.ids) == 3
