"""Yesterday's release beside today's in one vhost: declared by either, rolled one worker at a time, both ways."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from protocol.delay import LEVELS
from protocol.names import OBITUARIES, delay_level
from tests.integration.test_topology_commands import listing, with_management
from tests.support.commands import Running
from tests.support.installation import Install, Installation
from tests.support.journal import Journal
from tests.support.releases import ADDED, TODAY, Release, parts, yesterday
from tests.support.vhost import Vhost, body, task
from tests.support.waiting import eventually
from tests.support.workers import ROOT

pytestmark = pytest.mark.needs("git history")
WITHIN_S = 40.0
PAGE = (ROOT / "docs" / "upgrading.md").read_text("utf-8")
LINE = [delay_level(level) for level in range(LEVELS)]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return yesterday(tmp_path_factory.mktemp("yesterday"))


@pytest.fixture(params=["upgrade", pytest.param("way back", marks=pytest.mark.long)])
def roll(request: pytest.FixtureRequest, old: Release) -> tuple[Release, Release]:
    """The release that goes, and the one that comes."""
    return (old, TODAY) if request.param == "upgrade" else (TODAY, old)


@pytest.fixture
def installation(install: Install, vhost: Vhost) -> Installation:
    once = {"queue": "queue_a", "handler": "tests.support.handlers:depend", "retry": {"max_retries": 0}}
    return with_management(install, vhost, mailboxes=["results"], tasks={"depend": once})


def arguments(**given: object) -> str:
    return json.dumps(given, separators=(",", ":"))


def lines(count: int, **given: object) -> str:
    return f"{arguments(**given)}\n" * count


def test_each_finds_what_the_other_has_declared_as_it_should_be(
    installation: Installation, roll: tuple[Release, Release]
) -> None:
    first, second = roll
    first.run(installation, "broker declare")
    there = listing(installation.vhost)
    second.run(installation, "broker declare")
    now = listing(installation.vhost)
    assert not any(set(there[kind]) - set(now[kind]) for kind in there)
    assert second is TODAY or now == there
    for release in roll:
        assert release.run(installation, "broker diff").out == "no differences\n"


def test_what_today_publishes_and_declares_is_what_yesterday_does_and_what_the_list_names(
    installation: Installation, old: Release
) -> None:
    old.run(installation, "broker declare")
    diff = TODAY.run(installation, "broker diff", code=int(any(": missing" in one for one in ADDED)))
    differences = set(diff.out.splitlines()) - {"no differences"}
    TODAY.run(installation, "broker declare")
    were, are = published(old, installation), published(TODAY, installation)
    assert were - are == set()
    assert (are - were) | differences == set(ADDED)
    assert [one for one, made_of_it in ADDED.items() if f"| `{one}` | {made_of_it} |" not in PAGE] == []


def published(release: Release, installation: Installation) -> set[str]:
    """Each kind of message that a release publishes, and what it is made of."""
    vhost, found = installation.vhost, set[str]()

    def keep(kind: str, queue: str) -> None:
        [letter] = vhost.messages(queue, within_s=WITHIN_S)
        found.update(f"{kind}: {part}" for part in parts(letter))

    for kind, options in {
        "task": "",
        "mailbox task": "--mailbox results",
        "delayed task": "--delay 0.1",
        "expiring task": "--expires 100",
    }.items():
        release.run(installation, f"dispatcher submit note {options}")
        keep(kind, "queue_a")
    with release.running(installation, "dispatcher call note"):
        keep("call", "queue_a")
    with release.running(installation, "dispatcher map note --batch 2") as mapping:
        mapping.write(lines(2))
        keep("batch", "queue_a")
    worker = release.worker(installation)
    for kind, name, given in (
        ("reply", "note", {}),
        ("failure", "reject", {}),
        ("reply to a retry", "fail", {"times": 1}),
        ("lost child", "crash", {}),
        ("unsendable result", "opaque", {}),
    ):
        vhost.publish("tasks", name, body(**given), task(name, reply_to="mailbox.results"))
        keep(kind, "mailbox.results")
    keep("dead letter", "queue_a.dead")
    vhost.publish("tasks", "ask_for_retry", body(after=300), task("ask_for_retry"))
    [level] = eventually(lambda: [one for one in LINE if vhost.ready(one)], "the copy in the delay line")
    keep("retry", level)
    worker.sigterm()
    assert worker.wait() == 0
    release.run(installation, "broker dead replay queue_a")
    keep("replayed task", "queue_a")
    vhost.messages("queue_a")
    return found


class Asker:
    """What one release's dispatchers ask for, without a stop, while workers of both come and go."""

    def __init__(self, release: Release, installation: Installation, journal: Journal, opened: ExitStack) -> None:
        self._release, self._installation = release, installation
        self._journal = str(journal)
        self._held, self._retried = (
            opened.enter_context(release.running(installation, f"dispatcher map {words} --batch 2 --timeout 100"))
            for words in ("hold", "fail")
        )
        #: Replies to be.
        self.asked = 0

    def ask(self, gate: Path, held: Journal) -> None:
        """Two batches of two that wait for the gate, and as many of which each is done at its second attempt."""
        self._held.write(lines(4, gate=str(gate), journal=str(held)))
        self._retried.write(lines(4, times=1, journal=self._journal))
        self.asked += 4

    def submit(self, down: Path) -> None:
        """Into the mailbox: one that is delayed, and one that dies as long as there is a file ``down``."""
        for name, given, options in (
            ("note", {"journal": self._journal}, "--delay 3"),
            ("depend", {"down": str(down), "journal": self._journal}, ""),
        ):
            words = f"dispatcher submit {name} {options} --mailbox results --json {arguments(**given)}"
            self._release.run(self._installation, words)

    def results(self) -> tuple[list[int], list[int]]:
        """Of what was held, and of what was retried."""
        return self._results(self._held), self._results(self._retried)

    def _results(self, mapping: Running) -> list[int]:
        mapping.end_input()
        ended = mapping.wait(WITHIN_S)
        assert ended.code == 0, f"{self._release.name}: {ended}"
        return [one["result"] for one in ended.objects]


def test_workers_are_rolled_one_at_a_time_and_every_task_is_done_once(
    installation: Installation, roll: tuple[Release, Release]
) -> None:
    goes, comes = roll
    vhost, down, journals = installation.vhost, installation.gate(), [installation.journal() for _ in range(4)]
    down.touch()
    goes.run(installation, "broker declare")
    workers = [goes.worker(installation) for _ in range(2)]
    comes.run(installation, "broker declare")
    with ExitStack() as opened:
        askers = [Asker(release, installation, journals[3], opened) for release in roll]
        for asker in askers:
            asker.submit(down)
        for turn in range(3):
            gate = installation.gate()
            for asker in askers:
                asker.ask(gate, journals[turn])
            # Every slot of both workers is taken, and all else waits in them, or in the queue.
            journals[turn].wait(4, WITHIN_S)
            if turn < len(workers):
                workers[turn].sigterm()
                workers[turn].wait_for("finishing what runs")
            gate.touch()
            if turn < len(workers):
                assert workers[turn].wait(WITHIN_S) == 0
                workers[turn] = comes.worker(installation)
        for asker in askers:
            assert asker.results() == ([1] * asker.asked, [2] * asker.asked)
    eventually(lambda: vhost.ready("mailbox.results") == 4, "two failures and two that were delayed", WITHIN_S)
    failed = [
        (one["id"], one["error"]["code"])
        for release in roll
        for one in release.collected(installation, 2)
        if one.get("error")
    ]
    down.unlink()
    letters = [one["id"] for one in goes.run(installation, "broker dead list -o jsonl").objects]
    assert sorted(failed) == sorted((one, "retries_exhausted") for one in letters)
    for release, letter in zip(roll, letters, strict=True):
        release.run(installation, f"broker dead replay queue_a --id {letter}")
    eventually(lambda: vhost.ready("mailbox.results") == 2, "the replies of what was replayed", WITHIN_S)
    replayed = comes.collected(installation, 2)
    assert sorted((one["id"], one["result"]) for one in replayed) == [(one, 1) for one in sorted(letters)]
    entries = [entry for journal in journals for entry in journal.entries]
    assert set(Counter((one["id"], one["attempt"], one.get("down")) for one in entries).values()) == {1}
    queues = ("queue_a", "queue_a.dead", OBITUARIES, *LINE)
    assert {one: count for one in queues if (count := vhost.ready(one))} == {}


def test_what_a_killed_worker_of_one_leaves_a_worker_of_the_other_ends(
    installation: Installation, roll: tuple[Release, Release]
) -> None:
    goes, comes = roll
    gate, journal = installation.gate(), installation.journal()
    worker = goes.worker(installation)
    with ExitStack() as opened:
        mappings = [
            opened.enter_context(release.running(installation, "dispatcher map hold --batch 3"))
            for release in roll
        ]
        for mapping in mappings:
            mapping.write(lines(3, gate=str(gate), journal=str(journal)))
            mapping.end_input()
        journal.wait(2, WITHIN_S)
        worker.sigkill()
        worker.wait()
        begun = Counter(journal.ids)
        gate.touch()
        comes.worker(installation)
        for mapping in mappings:
            assert [one["result"] for one in mapping.wait(WITHIN_S).objects] == [1] * 3
    assert len(set(journal.ids)) == 6
    assert Counter(journal.ids) == Counter({*journal.ids}) + begun


def test_a_worker_of_one_reports_to_the_caller_of_the_other_what_the_broker_has_buried(
    installation: Installation, roll: tuple[Release, Release]
) -> None:
    asks, works = roll
    works.worker(installation, "queue_b")
    ended = asks.run(installation, "dispatcher call echo --expires 0.3 -o json", code=1)
    assert json.loads(ended.out)["error"]["code"] == "expired"
    assert [one["reason"] for one in asks.run(installation, "broker dead list -o jsonl").objects] == ["expired"]

    def workers() -> int:
        return len(json.loads(asks.run(installation, "broker status -o json").out)["workers"])

    eventually(lambda: workers() == 1, "a worker of the other release in the status", WITHIN_S)


def test_a_value_that_only_today_sends_is_plain_data_to_yesterday(
    installation: Installation, old: Release
) -> None:
    old.worker(installation)
    assert installation.caller().ask("echo", {"value": date(2026, 11, 30)}).result == "2026-11-30"


def test_the_page_names_the_keys_that_stop_yesterday(installation: Installation, old: Release) -> None:
    were, are = (set(_keys(json.loads(one.run(installation, "broker config schema").out))) for one in (old, TODAY))
    assert were - are == set()
    [named] = re.findall(r"nothing of the old release starts any more: (.*?)\.\n", PAGE, re.DOTALL)
    assert sorted(are - were) == re.findall(r"`(.*?)`", named)


def _keys(schema: dict[str, Any], inside: dict[str, Any] | None = None, prefix: str = "") -> Iterator[str]:
    """The keys of a configuration, dotted."""
    found = schema if inside is None else inside
    while "$ref" in found:
        found = schema["$defs"][found["$ref"].rpartition("/")[2]]
    for other in found.get("anyOf", []):
        yield from _keys(schema, other, prefix)
    for name, value in found.get("properties", {}).items():
        yield prefix + name
        yield from _keys(schema, value, f"{prefix}{name}.")
