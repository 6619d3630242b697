"""The log of a worker as a person reads it: what was done where, and what handlers say; and if nobody reads it."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Sequence

import pytest

from tests.support.hands import Hand, In, Locale, Out, Streams
from tests.support.hands import hand as a_hand
from tests.support.installation import Install, Installation
from tests.support.waiting import eventually

EXECUTORS = ("process", "thread", "async")
#: More than the broker waits for a heartbeat of a second.
SILENCE_S = 6.0
PIPES = Streams()
LINE = r"\d\d:\d\d:\d\d "


@pytest.fixture
def installation(install: Install) -> Installation:
    """A task for each executor, whose handler prints and logs; and a broker that soon takes a client for dead."""
    return install(
        broker={"heartbeat_s": 1},
        tasks={
            kind: {
                "queue": "queue_a",
                "handler": f"tests.support.handlers:{'speak_soon' if kind == 'async' else 'speak'}",
                "executor": kind,
            }
            for kind in EXECUTORS
        },
    )


def worker(installation: Installation, streams: Streams = PIPES, options: Sequence[str] = ()) -> Hand:
    return Hand(["-m", "worker", "queue_a", *options], installation.environment, streams)


def wait_for(installation: Installation) -> None:
    """For a worker whose log nobody reads."""
    vhost = installation.vhost
    eventually(lambda: vhost.exists("queue_a") and vhost.consumers("queue_a") > 0, "a consumer", 30)


@pytest.mark.parametrize("asked_by", ["-v", "worker.log_tasks"])
def test_a_worker_logs_each_task_that_it_has_done_if_it_is_asked_to(
    installation: Installation, asked_by: str
) -> None:
    """All of them: a flood of tasks is no flood of one kind of event."""
    caller = installation.caller()
    if asked_by != "-v":
        installation.environment["GLASSRABBIT__WORKER__LOG_TASKS"] = "true"
    with worker(installation, options=[asked_by] if asked_by == "-v" else []) as hand:
        hand.said(" ready: ")
        ids = [caller.ask("echo", {"value": number}).id for number in range(50)]
        for task_id in ids:
            hand.said(f"task {task_id} (echo) attempt 1 done in ")
        words = ["-m", "dispatcher", "map", "thread", "--batch", "25"]
        ended = a_hand(words, installation.environment, stdin=b"{}\n" * 50)
        ids += [json.loads(line)["id"] for line in ended.out.splitlines()]
        hand.signal(signal.SIGTERM)
        err = hand.wait().err
    done = rf"^{LINE}INFO +task ([0-9a-f]{{32}}) \((?:echo|thread)\) attempt 1 done in .* by .*:{hand.pid}$"
    assert sorted(re.findall(done, err, re.M)) == sorted(ids)
    assert len(ids) == 100


def test_a_worker_does_not_log_what_goes_well_unless_it_is_asked_to(installation: Installation) -> None:
    started = installation.worker()
    installation.caller().ask("echo")
    started.sigterm()
    started.wait()
    assert started.lines("done in") == []


@pytest.mark.parametrize("locale", list(Locale))
def test_what_handlers_log_and_print_is_in_the_log_whichever_executor_runs_them(
    installation: Installation, locale: Locale
) -> None:
    """With level, task and logger; nothing of it is data on standard output."""
    caller = installation.caller()
    with worker(installation, Streams(locale=locale)) as hand:
        hand.said(" ready: ")
        ids = {kind: caller.ask(kind, {"text": f"{kind} é"}).id for kind in EXECUTORS}
        hand.signal(signal.SIGTERM)
        ended = hand.wait()
    assert (ended.code, ended.out) == (0, b"")
    shown = "é" if locale is Locale.UTF8 else r"\u00e9"
    for kind, task_id in ids.items():
        said = rf"^{LINE}INFO +task {task_id} \({kind}\) shop: {kind} {re.escape(shown)} 0$"
        assert re.search(said, ended.err, re.M), ended.err
        assert f"printed {kind} {shown}\n" in ended.err


def test_a_log_that_nobody_reads_stops_neither_tasks_nor_heartbeats_and_says_what_it_left_out(
    installation: Installation,
) -> None:
    lines, caller = 50_000, installation.caller()
    with worker(installation, Streams(stderr=Out.UNREAD)) as hand:
        wait_for(installation)
        before = installation.vhost.connection_names("worker")
        caller.ask("thread", {"lines": lines}, timeout_s=60)
        # The broker would hang up meanwhile.
        time.sleep(SILENCE_S)
        assert caller.ask("async").failure is None
        assert installation.vhost.connection_names("worker") == before
        hand.read_at_last()
        hand.said("lines could not be written to standard error")
        hand.signal(signal.SIGTERM)
        ended = hand.wait()
    assert ended.code == 0
    written = len(re.findall(r"shop: hello \d+$", ended.err, re.M))
    lost = sum(int(count) for count in re.findall(r" (\d+) lines could not be written", ended.err))
    assert written + lost >= lines + 1
    assert lost > 0


def test_a_worker_whose_log_nobody_reads_stops_as_any_other(installation: Installation) -> None:
    with worker(installation, Streams(stderr=Out.UNREAD)) as hand:
        wait_for(installation)
        installation.caller().ask("thread", {"lines": 50_000}, timeout_s=60)
        hand.signal(signal.SIGTERM)
        assert hand.wait(10).code == 0


def test_a_pool_without_streams_ends_with_all_its_workers(installation: Installation) -> None:
    streams = Streams(In.CLOSED, Out.CLOSED, Out.CLOSED)
    with Hand(["-m", "worker", "up", "queue_a=2"], installation.environment, streams) as hand:
        wait_for(installation)
        for kind in EXECUTORS:
            assert installation.caller().ask(kind).failure is None
        hand.signal(signal.SIGTERM)
        assert hand.wait().code == 0
    assert installation.vhost.consumers("queue_a") == 0
