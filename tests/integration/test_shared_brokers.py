"""Test processes share a running broker, in whatever order and however they come and go."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from glassrabbit_testing.shared import folder, is_free
from tests.support.brokers import DEFAULT, Broker
from tests.support.waiting import eventually
from tests.support.workers import ROOT

_SESSION = """
import sys
from tests.support.brokers import OwnBroker, SharedBroker
broker = (OwnBroker if "alone" in sys.argv else SharedBroker)(sys.argv[1])
print(broker.port, flush=True)
sys.stdin.read()
broker.stop()
"""
_START_S = 120


class Session:
    """A process that uses a shared broker until it is let go."""

    def __init__(self, name: str, temporary: Path, *words: str, **further: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SESSION, name, *words],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(temporary), **further},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def port(self) -> int:
        assert self._process.stdout
        return int(self._process.stdout.readline())

    def let_go(self) -> None:
        self._process.communicate(timeout=20)
        assert self._process.returncode == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=20)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broker: Broker) -> Iterator[Path]:
    """A place for temporary files that no other session knows. Its keeper is gone at the end."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    eventually(lambda: is_free(broker.name), "the end of the keeper", 60)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.timeout(300)
def test_sessions_share_a_broker_until_the_last_is_gone_or_killed(broker: Broker, temporary: Path) -> None:
    sessions = [Session(broker.name, temporary) for _ in range(2)]
    first, second = [session.port() for session in sessions]
    assert first == second
    sessions[0].let_go()
    assert listens(first)
    third = Session(broker.name, temporary)
    assert third.port() == first
    sessions[1].kill()
    assert listens(first)
    third.kill()
    eventually(lambda: not listens(first), "the end of the broker", 60)


@pytest.mark.timeout(300)
def test_what_a_killed_keeper_left_is_replaced_and_a_broker_can_be_kept_for_the_next(
    broker: Broker, temporary: Path
) -> None:
    keeping = {"TEST_BROKERS_KEEP_S": "600"}
    session = Session(broker.name, temporary, **keeping)
    first = session.port()
    session.let_go()
    state = json.loads((folder() / f"{broker.name}.json").read_text())
    assert (state["port"], listens(first)) == (first, True)
    os.kill(state["keeper"], signal.SIGKILL)
    session = Session(broker.name, temporary)
    second = session.port()
    assert second != first
    eventually(lambda: not listens(first), "the end of what the killed one left", 60)
    assert listens(second)
    session.let_go()
    eventually(lambda: not listens(second), "the end of the broker", 60)


@pytest.mark.containers
@pytest.mark.timeout(300)
def test_a_broker_that_somebody_removed_is_replaced_although_its_keeper_lives(temporary: Path) -> None:
    session = Session(DEFAULT, temporary)
    first = session.port()
    state = json.loads((folder() / f"{DEFAULT}.json").read_text())
    subprocess.run(["docker", "rm", "--force", "--volumes", state["container"]], check=True, capture_output=True)
    another = Session(DEFAULT, temporary)
    second = another.port()
    assert second != first
    assert listens(second)
    session.let_go()
    another.let_go()
    eventually(lambda: not listens(second), "the end of the broker", 60)


@pytest.mark.containers
@pytest.mark.timeout(300)
def test_a_broker_that_a_session_has_alone_ends_with_it_even_if_that_is_killed(temporary: Path) -> None:
    session, other = (Session(DEFAULT, temporary, "alone") for _ in range(2))
    port, another = session.port(), other.port()
    assert port != another
    session.kill()
    eventually(lambda: not listens(port), "the end of its broker", 60)
    assert listens(another)
    other.let_go()
    eventually(lambda: not listens(another), "the end of the other one", 60)
    eventually(lambda: not list(folder().glob("*-alone-*")), "the end of all files", 60)
