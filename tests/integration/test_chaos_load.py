"""The load of a campaign, alone on a healthy broker: its processes write down all that happened, and no more."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import pytest

from tests.chaos import attacks, records
from tests.chaos.records import Asked, Collected, Ended, Finished, Record, Started, Told, digest
from tests.support.brokers import free_port
from tests.support.commands import Running, command
from tests.support.installation import Install, Installation
from tests.support.processes import is_running
from tests.support.supervisor import Supervisor
from tests.support.vhost import Letter
from tests.support.waiting import eventually

R = TypeVar("R", bound=Record)

SECONDS = 8
ATTACKS = len(attacks.BODIES) + len(attacks.FORGERIES) + len(attacks.PROPERTIES)
#: How each kind ends where nothing is broken.
ENDS = {
    "ok": "done",
    "slow": "done",
    "large": "done",
    "fails": "done",
    "crashes_child": "done",
    "always": "retries_exhausted",
    "rejects": "rejected",
}
#: max_retries + 1 of the installation.
ATTEMPTS = 4
NO_POISON = ("--poison-every", "1e9")


@dataclass(frozen=True)
class Ledgers:
    """What was written so far."""

    folder: Path

    def read(self, kind: type[R]) -> list[R]:
        return [record for record in records.read(self.folder) if isinstance(record, kind)]

    @cached_property
    def asked(self) -> dict[str, Asked]:
        return {one.key: one for one in self.read(Asked)}

    @cached_property
    def told(self) -> dict[str, Told]:
        return {one.key: one for one in self.read(Told)}

    @property
    def honest(self) -> dict[str, Asked]:
        return {key: one for key, one in self.asked.items() if one.kind != "hostile"}

    def runs(self, one: Asked) -> int:
        """How often its handler has to start."""
        if self.told[one.key].answer == "returned":
            return 0
        return ATTEMPTS if one.kind == "always" else one.failures + 1


@pytest.fixture
def loaded(install: Install) -> Installation:
    """Two queues, and each kind of task in one of them; ``ok`` in both. Its processes have a ledger."""
    queues = {"queue_a": ["ok", "fails", "rejects", "crashes_worker"]}
    queues["queue_b"] = ["slow", "large", "always", "crashes_child"]
    tasks = {
        f"chaos.{kind}": {"queue": queue, "handler": f"tests.chaos.handlers:{kind}"}
        for queue, kinds in queues.items()
        for kind in kinds
    }
    tasks["chaos.ok_b"] = {"queue": "queue_b", "handler": "tests.chaos.handlers:ok"}
    installation = install(
        tasks=tasks, queues={"queue_a": {"delivery_limit": 1}, "queue_b": {}}, mailboxes=["box"]
    )
    (installation.folder / "ledger").mkdir()
    installation.environment["CHAOS_LEDGER"] = str(installation.folder / "ledger")
    installation.declare()
    return installation


@pytest.fixture
def folder(loaded: Installation) -> Path:
    return Path(loaded.environment["CHAOS_LEDGER"])


@pytest.mark.timeout(240)
def test_on_a_healthy_broker_all_is_written_down_and_ends_as_its_kind_says(
    loaded: Installation, folder: Path
) -> None:
    worker = loaded.worker("queue_a", "queue_b")
    seconds = ("--seed", "1", "--seconds", str(SECONDS))
    asking = (*seconds, "--rate", "10", *NO_POISON)
    with contextlib.ExitStack() as stack:

        def start(module: str, *arguments: str) -> Running:
            return stack.enter_context(Running(loaded.environment, f"tests.chaos.{module}", *arguments))

        collector = start("collector", "--mailbox", "box")
        publishers = [
            start("requester", "--name", "r1", "--mode", "direct", *asking),
            start("requester", "--name", "r2", "--mode", "mailbox", "--mailbox", "box", *asking),
            start("requester", "--name", "r3", "--mode", "nobody", *asking),
            start("hostile_publisher", *seconds, "--rate", "30"),
        ]
        assert [publisher.wait(90).code for publisher in publishers] == [0, 0, 0, 0]
        ledgers = Ledgers(folder)
        expected = {key: runs for key, one in ledgers.honest.items() if (runs := ledgers.runs(one))}
        eventually(lambda: Counter(one.key for one in ledgers.read(Started)) == expected, "all runs", 60)
        worker.sigterm()
        assert worker.wait(30) == 0
        os.kill(collector.pid, signal.SIGTERM)
        assert collector.wait(60).code == 0

    assert ledgers.told.keys() == ledgers.asked.keys()
    assert {one.kind for one in ledgers.honest.values()} >= {"ok", "slow", "large", "fails", "always", "rejects"}
    assert {one.delay_s > 0 for one in ledgers.honest.values()} == {True, False}
    _callers_know_the_end_of_every_call(ledgers)
    _the_mailbox_has_given_every_reply_once(ledgers)
    _every_run_tells_who_ran_what(ledgers, worker.pid)
    _every_attack_has_become_one_letter(ledgers, [*_letters(loaded, "queue_a"), *_letters(loaded, "queue_b")])


def _callers_know_the_end_of_every_call(ledgers: Ledgers) -> None:
    ends = ledgers.read(Ended)
    assert sorted(end.key for end in ends) == sorted(
        key for key, one in ledgers.honest.items() if one.mode == "direct"
    )
    returned = {key for key, told in ledgers.told.items() if told.answer == "returned"}
    for end in ends:
        assert (end.code or end.answer) == (
            "returned" if end.key in returned else ENDS[ledgers.asked[end.key].kind]
        )
        assert end.answer != "done" or (end.id, end.digest) in _results(ledgers)
    assert returned
    assert {told.answer for key, told in ledgers.told.items() if key not in returned} == {"accepted"}


def _the_mailbox_has_given_every_reply_once(ledgers: Ledgers) -> None:
    collected = ledgers.read(Collected)
    keys = {
        ledgers.told[key].id: key
        for key, one in ledgers.honest.items()
        if one.mode == "mailbox" and ledgers.told[key].answer == "accepted"
    }
    assert sorted(one.id for one in collected) == sorted(keys)
    for one in collected:
        key = keys[one.id]
        assert (one.code or one.answer) == ENDS[ledgers.asked[key].kind]
        assert one.key == (key if one.answer == "done" else "")
        assert one.answer != "done" or (one.id, one.digest) in _results(ledgers)


def _results(ledgers: Ledgers) -> set[tuple[str, str]]:
    return {(one.id, one.digest) for one in ledgers.read(Finished) if one.ending == "done"}


def _every_run_tells_who_ran_what(ledgers: Ledgers, worker: int) -> None:
    started, finished = ledgers.read(Started), ledgers.read(Finished)
    for one in started:
        assert (one.id, one.digest) == (ledgers.told[one.key].id, ledgers.asked[one.key].digest)
    assert {one.worker for one in started} == {worker}
    assert worker not in {one.pid for one in started}
    crashes = sum(one.failures for one in ledgers.honest.values() if one.kind == "crashes_child")
    assert len({(one.id, one.attempt) for one in finished}) == len(finished) == len(started) - crashes


def _every_attack_has_become_one_letter(ledgers: Ledgers, letters: list[Letter]) -> None:
    found = Counter(digest(letter.body) for letter in letters)
    hostile = ledgers.asked.keys() - ledgers.honest.keys()
    assert len(hostile) >= ATTACKS
    assert {ledgers.told[key].text: found[key] for key in hostile if found[key] != 1} == {}
    buried = [one for one in ledgers.honest.values() if ENDS[one.kind] != "done"]
    assert len(letters) == len(hostile) + len(buried)


def _letters(loaded: Installation, queue: str) -> list[Letter]:
    return loaded.vhost.read_dead(queue, loaded.vhost.ready(f"{queue}.dead"))


def test_a_task_that_crashes_its_worker_is_started_each_time_and_no_child_is_left(
    loaded: Installation, folder: Path
) -> None:
    with Supervisor(loaded) as supervisor:
        failure = loaded.caller().ask("chaos.crashes_worker", {"key": "poison"}).failure
        assert supervisor.deaths == 2
    started = Ledgers(folder).read(Started)
    assert failure is not None
    assert (failure.code, len({one.worker for one in started}), len(started)) == ("delivery_limit", 2, 2)
    assert Ledgers(folder).read(Finished) == []
    eventually(lambda: not any(is_running(one.pid) for one in started), "the end of every child")


def test_a_requester_that_is_told_to_stop_waits_for_its_calls_and_a_killed_one_leaves_what_it_wrote(
    loaded: Installation, folder: Path
) -> None:
    arguments = ("--mode", "direct", "--seed", "1", "--seconds", "60", "--rate", "20", *NO_POISON)
    with (
        Running(loaded.environment, "tests.chaos.requester", "--name", "told", *arguments) as told,
        Running(loaded.environment, "tests.chaos.requester", "--name", "killed", *arguments) as killed,
    ):
        eventually(lambda: len({one.requester for one in Ledgers(folder).read(Asked)}) == 2, "requests", 30)
        killed.sigkill()
        os.kill(told.pid, signal.SIGTERM)
        loaded.worker("queue_a", "queue_b")
        assert (told.wait().code, killed.wait().code) == (0, -signal.SIGKILL)
    asked = Ledgers(folder).asked.values()
    ends = {one.key for one in Ledgers(folder).read(Ended)}
    assert ends == {one.key for one in asked if one.requester == "told"}
    assert {one.requester for one in asked} == {"told", "killed"}


def test_without_a_broker_all_of_them_end_in_time_and_ask_for_nothing(loaded: Installation, folder: Path) -> None:
    environment = {**loaded.environment, "BROKER_URL": f"amqp://127.0.0.1:{free_port()}/"}
    seconds = ("--seed", "1", "--seconds", "1", "--rate", "5")
    for module in ("requester --name r1 --mode nobody", "hostile_publisher"):
        ended = command(environment, *f"tests.chaos.{module}".split(), *seconds)
        assert (ended.code, records.read(folder)) == (0, [])
