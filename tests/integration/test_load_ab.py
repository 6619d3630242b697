"""``python -m dispatcher load ab`` on a broker: what it shows, what it refuses, and that it leaves nothing."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.integration.test_readme import assert_printed, run_block
from tests.support.commands import Ended, Running, command
from tests.support.hostile_memory import family
from tests.support.installation import Install, Installation
from tests.support.pages import block_with, section
from tests.support.processes import is_running
from tests.support.vhost import Vhost
from tests.support.waiting import eventually

_WITHIN_S = 90.0


def ab(installation: Installation, *words: str) -> Ended:
    return command(installation.environment, "dispatcher", "load", "ab", *words, within_s=_WITHIN_S)


def running(installation: Installation, *words: str) -> Running:
    return Running(installation.environment, "dispatcher", "load", "ab", *words)


@pytest.mark.long
@pytest.mark.alone
def test_prefetch_1_against_50_is_shown_to_be_slower_as_on_the_page(vhost: Vhost, tmp_path: Path) -> None:
    block = block_with(section("docs/scaling.md", "Two configurations"), "console", "load ab")
    assert_printed(block, run_block(block, tmp_path, BROKER_URL=vhost.url))


@pytest.mark.long
@pytest.mark.alone
def test_the_same_configuration_twice_shows_no_difference(installation: Installation) -> None:
    """One test in ten may show one by chance: once in three it must not."""
    words = ("--task", "echo", "-n", "100", "--rounds", "7", "-o", "json")
    shown = []
    for _ in range(3):
        ended = ab(installation, *words)
        assert ended.code == 0, ended.err
        seen = json.loads(ended.out)
        rounds = seen["rounds"]
        assert [one["first"] for one in rounds] == ["A", "B", "A", "B", "A", "B", "A"]
        assert {one[side]["tasks"]["done"] for one in rounds for side in "AB"} == {100}
        # Each turn has a worker of its own, of one side.
        assert len({worker for one in rounds for side in "AB" for worker in one[side]["workers"]}) == 14
        assert (installation.vhost.ready("queue_a"), installation.vhost.consumers("queue_a")) == (0, 0)
        shown.append({key: figure for key, figure in seen["figures"].items() if figure["faster"]})
        if not shown[-1]:
            return
    raise AssertionError(f"differences where there are none: {shown}")


def test_ctrl_c_lets_what_is_in_progress_be_done_and_leaves_neither_tasks_nor_workers(
    installation: Installation,
) -> None:
    journal = installation.journal()
    with running(installation, "--task", "echo", "-a", f"journal={journal}", "--workers", "2") as test:
        journal.wait(30, 30)
        started = family(test.pid)[1:]
        assert len(started) >= 6, "two workers with two children each"
        test.sigint()
        ended = test.wait()
    assert ended.code == 130
    assert "error: interrupted" in ended.err
    eventually(lambda: not any(map(is_running, started)), "the end of its workers")
    assert (installation.vhost.ready("queue_a"), installation.vhost.consumers("queue_a")) == (0, 0)


def test_stopped_twice_it_stops_at_once_and_says_what_is_left(installation: Installation) -> None:
    journal, gate = installation.journal(), installation.gate()
    held = ("--task", "hold", "-a", f"journal={journal}", "-a", f"gate={gate}", "--a", "worker.grace_s=0")
    with running(installation, *held, "-n", "20") as test:
        journal.wait(2, 30)
        started = family(test.pid)[1:]
        os.kill(test.pid, signal.SIGTERM)
        test.sigint()
        ended = test.wait(20)
    assert ended.code == 130
    assert "tasks are left in queue_a. Have them done: python -m worker queue_a" in ended.err
    eventually(lambda: not any(map(is_running, started)), "the end of its workers")
    eventually(lambda: installation.vhost.ready("queue_a") == 20, "the return of what ran")

    refused = ab(installation, "--task", "echo")
    assert (refused.code, refused.out) == (1, "")
    assert "queue_a has 20 tasks and 0 consumers" in refused.err


def test_what_would_spoil_the_test_is_reported_and_ends_it(install: Install) -> None:
    installation = install(tasks={"broken": {"queue": "queue_b", "handler": "nowhere:at_all"}})
    assert ab(installation, "--task", "nobody").code == 4
    assert ab(installation, "--task", "echo", "--a", "worker.concurrency=0").code == 2
    assert ab(installation, "--task", "a=b").code == 2

    ended = ab(installation, "--task", "broken")
    assert ended.code == 1
    assert "a worker ended with exit code 78" in ended.err
    assert "'nowhere:at_all' cannot be loaded" in ended.err

    unanswered = ("--task", "hold", "-a", f"gate={installation.gate()}", "-n", "2", "--timeout", "0.5")
    ended = ab(installation, *unanswered, "--a", "worker.grace_s=0")
    assert (ended.code, ended.out) == (75, "")
    assert "0 refused, 2 lost (NoReply)" in ended.err


def test_a_worker_that_ends_or_a_stranger_that_joins_ends_the_test(installation: Installation) -> None:
    journal = installation.journal()
    echo = ("--task", "echo", "-a", f"journal={journal}", "--rate", "50", "-n", "100")
    with running(installation, *echo) as test:
        journal.wait(10, 30)
        (worker,) = [pid for pid in family(test.pid)[1:] if "worker" in Path(f"/proc/{pid}/cmdline").read_text()][
            :1
        ]
        os.kill(worker, signal.SIGKILL)
        ended = test.wait()
    assert ended.code == 1
    assert "a worker ended with SIGKILL" in ended.err

    ours = installation.worker()
    eventually(lambda: installation.vhost.ready("queue_a") == 0, "the end of what was left")
    ours.sigterm()
    ours.wait()
    count = len(journal.entries)
    with running(installation, *echo) as test:
        journal.wait(count + 10, 30)
        stranger = installation.worker()
        ended = test.wait(60)
    assert ended.code == 1
    assert f":{stranger.pid} took tasks of the test and is no worker of it" in ended.err
