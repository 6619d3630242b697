"""Batches that a worker runs as a whole, on threads: what happens to one of their tasks happens to it alone."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from protocol.batch import pack_batch
from protocol.limits import JOINED_BYTES
from protocol.names import new_id
from tests.integration.test_batches import publish_batch, replies
from tests.support.administrator import close_connections
from tests.support.installation import Install, Installation
from tests.support.journal import Journal
from tests.support.vhost import Vhost, body, task
from tests.support.waiting import eventually


@pytest.fixture
def threaded(install: Install) -> Installation:
    return install(mailboxes=["results"], defaults={"executor": "thread"}, worker={"concurrency": 1})


def holding(journal: Journal, gates: Sequence[Path | str]) -> list[dict[str, Any]]:
    return [{"gate": str(gate), "journal": str(journal)} for gate in gates]


def ask_again(vhost: Vhost, name: str, task_id: str) -> None:
    """The same task in a message of its own, as a dispatcher sends it on a new connection."""
    properties = task(name, task_id=task_id, reply_to="mailbox.results")
    properties.headers = {**properties.headers, "resent": 1}
    vhost.publish("tasks", name, body(gate=os.devnull), properties)


def test_those_that_are_done_are_answered_while_the_next_one_still_runs(threaded: Installation) -> None:
    threaded.worker()
    vhost, journal, gate = threaded.vhost, threaded.journal(), threaded.gate()
    ids = publish_batch(vhost, "hold", holding(journal, [*[os.devnull] * 5, gate, os.devnull]))
    assert sorted(replies(vhost, 5)) == sorted(ids[:5])
    assert vhost.ready("queue_a") == 0
    gate.touch()
    assert sorted(replies(vhost, 2)) == sorted(ids[5:])


def test_one_that_comes_again_while_the_batch_runs_joins_it(threaded: Installation) -> None:
    worker = threaded.worker()
    vhost, journal, gate = threaded.vhost, threaded.journal(), threaded.gate()
    ids = publish_batch(vhost, "hold", holding(journal, [gate, os.devnull, os.devnull]))
    eventually(lambda: len(journal.entries) == 1, "the first of them")
    for task_id in ids[:2]:
        ask_again(vhost, "hold", task_id)
    eventually(lambda: vhost.ready("queue_a") == 0, "the delivery of both")
    gate.touch()
    assert sorted(replies(vhost, 3)) == sorted(ids)
    worker.sigterm()
    assert worker.wait() == 0
    assert worker.lines("joined 2")
    assert [entry["id"] for entry in journal.entries] == ids
    assert vhost.ready("queue_a") == vhost.ready("mailbox.results") == 0


def test_whatever_comes_again_after_its_end_is_answered_from_memory(threaded: Installation) -> None:
    worker = threaded.worker()
    vhost, journal = threaded.vhost, threaded.journal()
    arguments = holding(journal, [os.devnull] * 4)
    ids = publish_batch(vhost, "hold", arguments)
    first = replies(vhost, 4)
    ask_again(vhost, "hold", ids[2])
    assert replies(vhost, 1) == {ids[2]: first[ids[2]]}
    properties = task("hold", reply_to="mailbox.results")
    fresh = new_id()
    properties.headers = {**properties.headers, "batch": 5}
    entries = [
        (one, body(**values)) for one, values in zip([*ids, fresh], [*arguments, arguments[0]], strict=True)
    ]
    vhost.publish("tasks", "hold", pack_batch(entries), properties)
    again = replies(vhost, 5)
    assert {task_id: again[task_id] for task_id in ids} == first
    assert [entry["id"] for entry in journal.entries] == [*ids, fresh]
    worker.sigterm()
    assert worker.wait() == 0
    assert worker.lines("answered_again 5")
    assert vhost.ready("queue_a") == 0


def test_a_batch_that_comes_back_to_the_worker_that_runs_it_joins_its_own_run(threaded: Installation) -> None:
    worker = threaded.worker()
    vhost, journal, gate = threaded.vhost, threaded.journal(), threaded.gate()
    ids = publish_batch(vhost, "hold", holding(journal, [os.devnull, gate, os.devnull]))
    eventually(lambda: len(journal.entries) == 2, "the second of them")
    before = vhost.connection_names()
    close_connections(vhost)
    eventually(lambda: len(vhost.connection_names() - before) == 2, "both connections again")
    eventually(lambda: vhost.consumers("queue_a") and not vhost.ready("queue_a"), "its second delivery")
    gate.touch()
    seen: set[str] = set()
    while len(seen) < 3:
        (letter,) = vhost.messages("mailbox.results", within_s=30)
        seen |= {entry["id"] for entry in (letter.value if isinstance(letter.value, list) else [letter.value])}
    assert seen == set(ids)
    worker.sigterm()
    assert worker.wait() == 0
    assert [entry["id"] for entry in journal.entries] == ids
    assert vhost.ready("queue_a") == 0


def test_a_worker_that_stops_finishes_the_batch_that_it_has_begun(threaded: Installation) -> None:
    worker = threaded.worker()
    vhost, journal, gate = threaded.vhost, threaded.journal(), threaded.gate()
    ids = publish_batch(vhost, "hold", holding(journal, [os.devnull, gate, os.devnull]))
    eventually(lambda: len(journal.entries) == 2, "the second of them")
    worker.sigterm()
    worker.wait_for("finishing what runs")
    gate.touch()
    assert worker.wait() == 0
    assert sorted(replies(vhost, 3)) == sorted(ids)
    assert vhost.ready("queue_a") == 0


@pytest.mark.parametrize("odd", [[1, {"a": [None]}], {"b": b"\xff"}, [[[]]], "\u00fc", b"\xdd\xdc"])
def test_arguments_of_any_shape_come_through(threaded: Installation, odd: object) -> None:
    threaded.worker()
    values = [1, odd, "text", odd]
    ids = publish_batch(threaded.vhost, "echo", [{"value": value} for value in values])
    ends = replies(threaded.vhost, len(values))
    assert [ends[one]["result"] for one in ids] == values


def test_replies_that_are_large_together_leave_in_several_messages(threaded: Installation) -> None:
    threaded.worker()
    size = JOINED_BYTES * 2 // 5
    ids = publish_batch(threaded.vhost, "echo", [{"value": bytes(size)} for _ in range(8)])
    letters = threaded.vhost.messages("mailbox.results", 4)
    assert all(len(letter.body) <= JOINED_BYTES for letter in letters)
    assert sorted(entry["id"] for letter in letters for entry in letter.value) == sorted(ids)


def test_replies_that_nobody_can_take_become_dead_letters_one_by_one(threaded: Installation) -> None:
    worker, vhost = threaded.worker(), threaded.vhost
    ids = [new_id() for _ in range(3)]
    properties = task("echo", reply_to="mailbox.gone")
    properties.headers = {**properties.headers, "batch": 3}
    vhost.publish("tasks", "echo", pack_batch([(one, body(value=1)) for one in ids]), properties)
    letters = vhost.read_dead("queue_a", 3)
    assert {letter.reason.code for letter in letters} == {"no_mailbox"}
    assert sorted(letter.value["id"] for letter in letters) == sorted(ids)
    worker.sigterm()
    assert worker.wait() == 0
    assert vhost.ready("queue_a") == 0


def test_a_batch_that_is_too_late_is_not_run_and_each_of_its_tasks_is_buried(threaded: Installation) -> None:
    threaded.worker()
    vhost, journal = threaded.vhost, threaded.journal()
    past_ms = round(time.time() * 1000) - 10_000
    ids = publish_batch(vhost, "note", [{"journal": str(journal)} for _ in range(3)], expires_at=past_ms)
    letters = vhost.read_dead("queue_a", 3)
    assert {letter.reason.code for letter in letters} == {"expired"}
    assert sorted(letter.properties.message_id for letter in letters) == sorted(ids)
    assert {end["error"]["code"] for end in replies(vhost, 3).values()} == {"expired"}
    assert journal.entries == []
