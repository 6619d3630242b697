"""Nothing is lost while workers and the broker are killed: the whole path, from standard input to output."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest

from tests.support.brokers import Broker
from tests.support.installation import Install, Installation
from tests.support.waiting import eventually
from tests.support.workers import ROOT

TASKS = 2000
#: Of each task: long enough for many deaths, short enough for a test.
SECONDS = 0.02
#: How long a worker lives after it said ``ready``.
LIFE_S = 1.0
#: The dispatcher gives each task so long; the test as a whole is bounded by pytest.
TIMEOUT_S = 150


@pytest.mark.own_broker
@pytest.mark.every_broker(long=True)
@pytest.mark.timeout(300)
def test_2000_tasks_survive_workers_killed_in_turns_and_a_broker_killed_once(
    broker: Broker, install: Install
) -> None:
    installation = install(worker={"concurrency": 4})
    installation.declare()
    lines = "".join(json.dumps({"seconds": SECONDS}) + "\n" for _ in range(TASKS))
    command = [sys.executable, "-m", "dispatcher", "map", "task_a", "--timeout", str(TIMEOUT_S), "--window", "300"]

    with (
        workers_killed_in_turns(installation),
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=installation.environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as dispatcher,
    ):
        assert dispatcher.stdin
        assert dispatcher.stdout
        assert dispatcher.stderr
        replies: list[str] = []
        complaints: list[str] = []
        threads = [
            threading.Thread(target=feed, args=(dispatcher.stdin, lines)),
            threading.Thread(target=replies.extend, args=(dispatcher.stdout,)),
            threading.Thread(target=complaints.extend, args=(dispatcher.stderr,)),
        ]
        for thread in threads:
            thread.start()
        eventually(lambda: len(replies) > TASKS // 4, "a quarter of the replies", TIMEOUT_S)
        broker.restart()
        code = dispatcher.wait(TIMEOUT_S)
        for thread in threads:
            thread.join(10)

    said = [json.loads(line) for line in replies]
    assert dict.fromkeys(range(1, TASKS + 1), 1) == Counter(reply["line"] for reply in said)
    assert [reply for reply in said if "error" in reply] == []
    assert code == 0, "".join(complaints)
    assert installation.vhost.ready("queue_a.dead") == 0


def feed(pipe: IO[str], text: str) -> None:
    with pipe:
        pipe.write(text)


@contextmanager
def workers_killed_in_turns(installation: Installation) -> Iterator[None]:
    """Two workers of ``queue_a``: each is killed a second after it said ``ready``, and another takes its place."""
    over = threading.Event()

    def live_and_die() -> None:
        while not over.is_set():
            worker = installation.worker(ready=False).wait_ready(90)
            over.wait(LIFE_S)
            worker.sigkill()
            worker.wait()

    lives = [threading.Thread(target=live_and_die) for _ in range(2)]
    for life in lives:
        life.start()
    try:
        yield
    finally:
        over.set()
        for life in lives:
            life.join(90)
