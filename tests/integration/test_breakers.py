"""Circuit breakers: while what tasks depend on is away they wait, and burn no attempt."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from protocol.reply import Reply
from tests.integration.test_readme import assert_printed, run_block
from tests.support.administrator import close_connections
from tests.support.health import Health
from tests.support.installation import Install, Installation
from tests.support.journal import Journal
from tests.support.vhost import Vhost
from tests.support.waiting import eventually
from tests.support.workers import ROOT, WorkerProcess

PAGE = (ROOT / "docs" / "breakers.md").read_text()
EXECUTORS = ("process", "thread", "async")
#: Of one breaker, and tasks that die after 3 attempts within less than 0.5 s.
RUNS = 4
RETRY = {"max_retries": 2, "backoff_s": [0.1], "jitter": 0}
WITHIN_S = 30.0


def configuration(**task: Any) -> dict[str, Any]:
    depend = {"queue": "queue_a", "handler": "tests.support.handlers:depend", "breaker": "stock", "retry": RETRY}
    return {
        "breakers": {"stock": {"runs": RUNS, "open_s": 0.3}},
        "tasks": {"depend": {**depend, **task}},
        "worker": {"http": {"enabled": True, "port": 0}},
    }


def code_of(asked: Future[Reply]) -> str | None:
    """What a task ended with; None if it was done."""
    failure = asked.result(WITHIN_S).failure
    return None if failure is None else failure.code


def opened(worker: WorkerProcess) -> None:
    worker.wait_for("breaker stock opens: ", WITHIN_S)


class Outage:
    """While ``down`` is there, ``depend`` fails."""

    def __init__(self, installation: Installation) -> None:
        self.down: Path = installation.gate()
        self.journal: Journal = installation.journal()
        self.down.touch()

    @property
    def arguments(self) -> dict[str, Any]:
        return {"down": str(self.down), "journal": str(self.journal)}

    def well(self) -> list[str]:
        """The task of each run that went well."""
        return [entry["id"] for entry in self.journal.entries if entry.get("down") is False]

    def tries(self) -> int:
        return sum(entry.get("down", False) for entry in self.journal.entries)


def test_nothing_dies_and_no_attempt_is_burnt_while_a_breaker_is_open(install: Install) -> None:
    installation = install(**configuration())
    outage = Outage(installation)
    caller, worker = installation.caller(), installation.worker()
    asked = [caller.asking("depend", outage.arguments, timeout_s=WITHIN_S) for _ in range(30)]
    opened(worker)
    tried = outage.tries()
    eventually(lambda: outage.tries() >= tried + 4, "four more tries", WITHIN_S)
    health = Health(worker)
    prefetch = float(installation.settings.worker.concurrency + 2)
    now = health.wait({("breaker_openings_total", "stock"): 1.0, ("unacked",): prefetch})
    assert now["breaker_state", "stock"] > 0
    assert health.is_ready

    outage.down.unlink()
    replies = [one.result(WITHIN_S) for one in asked]
    assert [reply.failure for reply in replies] == [None] * len(replies)
    # Before it opened, so many runs failed, and those that were under way at that moment burnt nothing.
    assert sum(reply.run.attempts - 1 for reply in replies) == RUNS
    assert len(worker.lines("breaker stock opens: 4 of the last 4 runs failed, at last with ConnectionError")) == 1
    assert len(worker.lines("breaker stock closes after ")) == 1
    health.wait({("breaker_state", "stock"): 0.0, ("breaker_held", "stock"): 0.0})
    assert installation.vhost.ready("queue_a.dead") == 0


def test_without_a_breaker_the_same_tasks_die(install: Install) -> None:
    installation = install(**configuration(breaker=None))
    outage = Outage(installation)
    caller, worker = installation.caller(), installation.worker()
    replies = [caller.asking("depend", outage.arguments) for _ in range(5)]
    assert {code_of(reply) for reply in replies} == {"retries_exhausted"}
    assert "breaker" not in worker.log
    assert installation.vhost.ready("queue_a.dead") == 5


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_task_that_always_fails_keeps_no_breaker_open_and_dies_alone(install: Install, executor: str) -> None:
    handler = "depend_async" if executor == "async" else "depend"
    installation = install(**configuration(executor=executor, handler=f"tests.support.handlers:{handler}"))
    outage = Outage(installation)
    caller, worker = installation.caller(), installation.worker()
    poison = caller.asking("depend", {**outage.arguments, "poison": True}, timeout_s=WITHIN_S)
    asked = [caller.asking("depend", outage.arguments, timeout_s=WITHIN_S) for _ in range(8)]
    opened(worker)
    outage.down.unlink()
    assert {code_of(one) for one in asked} == {None}
    assert code_of(poison) == "retries_exhausted"


def test_a_fallback_answers_while_the_breaker_is_open_and_only_then(install: Install) -> None:
    installation = install(**configuration(fallback="tests.support.handlers:do_without"))
    outage = Outage(installation)
    caller, worker = installation.caller(), installation.worker()
    first = [caller.asking("depend", outage.arguments, timeout_s=WITHIN_S) for _ in range(20)]
    opened(worker)
    failing = caller.asking("depend", {**outage.arguments, "poison": True}, timeout_s=WITHIN_S)
    answers = Counter(one.result(WITHIN_S).result for one in first)
    # What burnt an attempt before it opened comes back to the fallback.
    assert answers == {"from the cache": len(first)}
    assert not failing.done()

    outage.down.unlink()
    # The one that fails all the time proves nothing; whichever else comes does.
    eventually(lambda: caller.ask("depend", outage.arguments).result == 1, "an answer of its own", WITHIN_S)
    worker.wait_for("breaker stock closes after ", WITHIN_S)
    assert code_of(failing) == "retries_exhausted"
    assert Health(worker).numbers()["breaker_answers_total", "stock"] >= answers["from the cache"]


def test_a_task_that_comes_alone_is_answered_by_its_fallback_when_its_try_fails(install: Install) -> None:
    installation = install(**configuration(fallback="tests.support.handlers:do_without"))
    outage = Outage(installation)
    caller, worker = installation.caller(), installation.worker()
    for one in [caller.asking("depend", outage.arguments, timeout_s=WITHIN_S) for _ in range(8)]:
        assert one.result(WITHIN_S).result == "from the cache"
    Health(worker).wait({("breaker_state", "stock"): 1.0})
    assert caller.ask("depend", outage.arguments).result == "from the cache"


def test_what_is_held_while_its_connection_is_lost_is_run_once(install: Install) -> None:
    installation = install(**configuration())
    outage = Outage(installation)
    caller, worker = installation.caller(), installation.worker()
    asked = [caller.asking("depend", outage.arguments, timeout_s=WITHIN_S) for _ in range(6)]
    opened(worker)
    close_connections(installation.vhost)
    worker.wait_for("up again", WITHIN_S, count=2)
    outage.down.unlink()
    assert {code_of(one) for one in asked} == {None}
    assert sorted(outage.well()) == sorted(set(outage.well()))
    Health(worker).wait({("breaker_held", "stock"): 0.0, ("unacked",): 0.0})


def test_a_batch_that_meets_an_open_breaker_is_run_once_though_its_worker_is_killed(install: Install) -> None:
    installation = install(**configuration())
    outage = Outage(installation)
    caller, worker = installation.caller(), installation.worker()
    batch = caller.start(_map(caller, outage.arguments, 12))
    opened(worker)
    worker.sigkill()
    installation.worker()
    outage.down.unlink()
    assert [end.end.failure for end in batch.result(WITHIN_S)] == [None] * 12
    assert len(outage.well()) == len(set(outage.well())) == 12


def test_what_an_open_breaker_holds_goes_back_when_its_worker_stops(install: Install) -> None:
    installation = install(**configuration())
    outage = Outage(installation)
    caller, worker = installation.caller(), installation.worker()
    batch = caller.start(_map(caller, outage.arguments, 12))
    single = [caller.asking("depend", outage.arguments, timeout_s=WITHIN_S) for _ in range(3)]
    opened(worker)
    worker.sigterm()
    assert worker.wait(WITHIN_S) == 0
    outage.down.unlink()
    installation.worker()
    assert [end.end.failure for end in batch.result(WITHIN_S)] == [None] * 12
    assert {code_of(one) for one in single} == {None}


def test_status_names_the_breakers_of_this_machine_that_are_open(install: Install) -> None:
    installation = install(**{**configuration(), "worker": {"http": {"enabled": True, "port": 9870}}})
    outage = Outage(installation)
    caller, worker = installation.caller(), installation.worker()
    for _ in range(6):
        caller.submit("depend", outage.arguments)
    opened(worker)
    api = {"GLASSRABBIT__BROKER__MANAGEMENT_URL": installation.vhost.broker.management.url}

    def status(*options: str) -> str:
        command = [sys.executable, "-m", "broker", "status", *options]
        environ = {**installation.environment, **api}
        return subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=60).stdout

    def seen() -> bool:
        workers = json.loads(status("-o", "json"))["workers"] or [{}]
        return list(workers[0].get("breakers", {})) == ["stock"]

    eventually(seen, "a worker with an open breaker in the status", WITHIN_S)
    assert re.search(r"stock (half )?open", status())
    outage.down.unlink()


async def _map(caller: Any, arguments: dict[str, Any], count: int) -> list[Any]:
    return [end async for end in caller.dispatcher.map("depend", [arguments] * count, batch=4)]


def test_the_page_does_what_it_says(vhost: Vhost, tmp_path: Path) -> None:
    blocks = dict(re.findall(r"^```(console|python|yaml without)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    (tmp_path / "jobs.py").write_text(blocks["python"])
    (tmp_path / "config.yml").write_text(blocks["yaml without"])
    environ = {"BROKER_URL": vhost.url, "GLASSRABBIT_CONFIG": str(tmp_path / "config.yml")}
    block = blocks["console"]
    printed = run_block("$ trap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n" + block, tmp_path, **environ)
    assert_printed(block, printed)
    counts = [line.split() for line in printed if re.match(r"  (done|failed|retried) ", line)]
    assert counts[:2] == [["done", "60"], ["failed", "0"]]
    assert counts[3:5] == [["done", "0"], ["failed", "60"]], printed
