"""``python -m worker up`` and ``autoscale``: pools of local workers, whatever happens to them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.integration.test_readme import assert_printed, run_block
from tests.support.installation import Install, Installation
from tests.support.pages import block_with, section
from tests.support.processes import is_running
from tests.support.spike import SMALL, Plan, local, spike, wrong
from tests.support.vhost import Vhost
from tests.support.waiting import eventually
from tests.support.workers import WorkerProcess
from worker.stops import SAME_S

#: Executed below.
PAGE = "docs/workers.md"
#: Starts are slow on a machine that does other things.
START_S = 40.0
READY = re.compile(r"(queue_[ab] #\d+): ready, pid (\d+)")


class Pool(WorkerProcess):
    """``python -m worker up …`` from its start until ``close``, which leaves no worker behind."""

    def __init__(self, installation: Installation, *words: str, **further: str) -> None:
        super().__init__(words, {**installation.environment, **further})

    @property
    def pids(self) -> list[int]:
        """Of the workers that got ready and still run, oldest first."""
        return [pid for _, pid in self.started if is_running(pid)]

    @property
    def started(self) -> list[tuple[str, int]]:
        """Slot and process id of each worker that got ready."""
        return [(slot, int(pid)) for slot, pid in READY.findall(self.log)]

    def wait_started(self, count: int) -> list[int]:
        self.wait_for(": ready, pid ", START_S, count)
        return [pid for _, pid in self.started]

    def hangup(self) -> None:
        os.kill(self.pid, signal.SIGHUP)

    def close(self) -> None:
        if self.is_alive:
            self.sigterm()
            self.wait_for("SIGTERM: ", START_S)
            # What comes at once is the first one once more.
            time.sleep(SAME_S)
            self.sigterm()
            self.wait(START_S)
        self.stop()


def parent_of(pid: int) -> int:
    """The worker of a process that runs handlers."""
    return int(Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture
def queue_b_is_broken(tmp_path: Path) -> Path:
    """A module that cannot be imported, for a reason that reads differently each time; notes when that was."""
    starts = tmp_path / "starts"
    (tmp_path / "broken_tasks.py").write_text(
        f"import os, time\n"
        f"with open({str(starts)!r}, 'a') as file:\n"
        f"    print(time.time(), file=file)\n"
        f"raise RuntimeError(f'no license for {{os.getpid()}} at {{time.time()}}')\n"
    )
    return starts


def test_up_keeps_its_number_renews_and_stops_without_losing_a_task(
    install: Install, queue_b_is_broken: Path
) -> None:
    broken = {"task_b": {"queue": "queue_b", "handler": "broken_tasks:task_b"}}
    installation = install(tasks=broken, worker={"concurrency": 1})
    caller, journal, gate = installation.caller(), installation.journal(), installation.gate()
    pool = Pool(installation, "up", "queue_a=2", "queue_b=1", PYTHONPATH=str(queue_b_is_broken.parent))
    with contextlib.closing(pool):
        first, second = pool.wait_started(2)

        os.kill(first, signal.SIGKILL)
        pool.wait_for("ended with SIGKILL; the next one starts in 0.5 s")
        third = pool.wait_started(3)[-1]
        assert pool.pids == [second, third]

        held = [caller.submit("hold", {"gate": str(gate), "journal": str(journal)}) for _ in range(2)]
        assert {parent_of(entry["pid"]) for entry in journal.wait(2)} == {second, third}

        def starts() -> list[float]:
            return [float(line) for line in queue_b_is_broken.read_text().split()]

        eventually(lambda: len(starts()) >= 3, "the third try of queue_b", START_S)
        assert all(later - earlier >= 0.5 * 2**n for n, (earlier, later) in enumerate(pairwise(starts()[:3])))
        assert len(pool.lines("no license")) == len(pool.lines("queue_b #3: ended with exit code 78")) + 1

        pool.hangup()
        pool.wait_for("takes the place of", START_S, 2)
        gate.touch()
        eventually(lambda: not (is_running(second) or is_running(third)), "the end of those before", START_S)
        assert len(pool.pids) == 2
        last = [caller.submit("note", {"journal": str(journal)}) for _ in range(20)]
        entries = journal.wait(22)
        assert sorted(entry["id"] for entry in entries) == sorted(held + last)
        assert {parent_of(entry["pid"]) for entry in entries[2:]} <= set(pool.pids)

        other_gate = installation.gate()
        slow = caller.submit("hold", {"gate": str(other_gate), "journal": str(journal)})
        journal.wait(23)
        workers = pool.pids
        pool.sigterm()
        pool.wait_for("SIGTERM: the workers finish what runs")
        other_gate.touch()
        assert pool.wait(START_S) == 0
        assert not any(map(is_running, workers))
        assert journal.ids.count(slow) == 1
        assert installation.vhost.ready("queue_a") == 0


@pytest.mark.alone
@pytest.mark.parametrize("plan", [SMALL, pytest.param(Plan(), marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_workers_follow_a_spike_up_and_down_lose_nothing_and_leave(
    vhost: Vhost, tmp_path: Path, plan: Plan
) -> None:
    run = spike(local(tmp_path, vhost.url, vhost.broker.management.url), plan)
    assert wrong(run) == []
    assert len(run["workers"]) > 1
    assert (vhost.ready("queue_a"), vhost.consumers("queue_a")) == (0, 0)


def test_the_commands_of_the_page_do_what_it_shows(vhost: Vhost, tmp_path: Path) -> None:
    fixed, needed = section(PAGE, "A fixed number"), section(PAGE, "As many as are needed")
    block = block_with(fixed, "console", "kill -HUP") + block_with(needed, "console", "-o json")
    cleanly = "$ trap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n"
    api = {"GLASSRABBIT__BROKER__MANAGEMENT_URL": vhost.broker.management.url}
    printed = run_block(cleanly + block, tmp_path, BROKER_URL=vhost.url, **api)
    assert_printed(block, printed)
    *_, first, second, last = printed
    assert " queue_a 0→1: ready 0, unacked " in first
    assert " queue_b 0→1: ready 0, unacked " in second
    assert (json.loads(last)["queue"], json.loads(last)["after"]) == ("queue_a", 1)

    compared = block_with(fixed, "console", "load compare").replace("-n 1000", "-n 60")
    printed = run_block(cleanly + compared, tmp_path, BROKER_URL=vhost.url, **api)
    spread = [line.split() for line in printed if re.fullmatch(r" +\S+:\d+ +\d+ +\d+ *", line)]
    assert [sum(int(row[column]) for row in spread) for column in (1, 2)] == [60, 60]
    assert len(spread) > 1
