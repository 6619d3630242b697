"""Many tasks in one message: each of them is done, answered, retried and buried as if it had come alone."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from protocol.batch import pack_batch
from protocol.names import new_id
from tests.support.installation import Install, Installation
from tests.support.vhost import Vhost, body, task
from tests.support.waiting import eventually

_HANDLERS = "tests.support.handlers"


def publish_batch(vhost: Vhost, name: str, arguments: list[dict[str, Any]], **headers: Any) -> list[str]:
    """One message with a task for each of the arguments; their ids. Replies go to mailbox ``results``."""
    ids = [new_id() for _ in arguments]
    properties = task(name, reply_to="mailbox.results")
    properties.headers = {**properties.headers, "batch": len(ids), **headers}
    entries = [(one, body(**values)) for one, values in zip(ids, arguments, strict=True)]
    vhost.publish("tasks", name, pack_batch(entries), properties)
    return ids


def replies(vhost: Vhost, count: int) -> dict[str, dict[str, Any]]:
    """So many ends of tasks, by their ids, from as many messages as they take."""
    ends: dict[str, dict[str, Any]] = {}
    while len(ends) < count:
        (letter,) = vhost.messages("mailbox.results", within_s=30)
        for entry in letter.value if isinstance(letter.value, list) else [letter.value]:
            assert entry["id"] not in ends
            ends[entry["id"]] = entry
    return ends


@pytest.fixture(params=["process", "thread"])
def executor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def boxed(install: Install, executor: str) -> Installation:
    return install(
        mailboxes=["results"],
        defaults={"executor": executor, "retry": {"max_retries": 1, "backoff_s": [0.2]}},
        tasks={"task_a": {"timeout_s": 0.6}},
        worker={"concurrency": 1},
    )


def test_each_task_of_a_batch_is_done_once_in_order_and_the_message_is_acked(boxed: Installation) -> None:
    worker, vhost, journal = boxed.worker(), boxed.vhost, boxed.journal()
    ids = publish_batch(vhost, "note", [{"journal": str(journal), "number": number} for number in range(30)])
    ends = replies(vhost, len(ids))
    assert {end["attempts"] for end in ends.values()} == {1}
    assert sorted(ends) == sorted(ids)
    assert [entry["id"] for entry in journal.entries] == ids
    worker.sigterm()
    assert worker.wait() == 0
    assert (vhost.ready("queue_a"), vhost.ready("queue_a.dead")) == (0, 0)


def test_one_that_fails_goes_its_own_way_and_the_others_do_not_wait_for_it(boxed: Installation) -> None:
    worker, vhost = boxed.worker(), boxed.vhost
    lost = (
        {"seconds": 0, "crash": True}
        if boxed.settings.tasks["task_a"].executor == "process"
        else {"fail_times": 9}
    )
    given: list[dict[str, Any]] = [{"seconds": 0}, {"seconds": 0, "fail_times": 1}, {"seconds": 30}, lost]
    ids = publish_batch(vhost, "task_a", [*given, {"seconds": 0, "reject": True}, {"no_such": 1}, {"seconds": 0}])
    ends = replies(vhost, len(ids))
    codes = [ends[one].get("error", {}).get("code") for one in ids]
    gone = "worker_lost" if "crash" in lost else "retries_exhausted"
    assert codes == [None, None, "timed_out", gone, "rejected", "bad_arguments", None]
    assert [ends[one]["attempts"] for one in ids] == [1, 2, 2, 2, 1, 1, 1]
    letters = {letter.properties.message_id: letter for letter in vhost.read_dead("queue_a", 4)}
    assert {letter.reason.code for letter in letters.values()} == {"timed_out", gone, "rejected", "bad_arguments"}
    assert sorted(letters) == sorted(ids[2:6])
    assert "batch" not in letters[ids[2]].headers
    assert letters[ids[2]].value == {"seconds": 30}
    worker.sigterm()
    assert worker.wait() == 0
    assert vhost.ready("queue_a") == 0


def test_a_batch_that_comes_back_is_split_and_what_was_done_here_is_not_done_again(boxed: Installation) -> None:
    """The worker dies with the second of three tasks begun."""
    vhost, journal, gate = boxed.vhost, boxed.journal(), boxed.gate()
    first = boxed.worker()
    arguments = [{"journal": str(journal), "gate": str(gate)} for _ in range(3)]
    ids = publish_batch(vhost, "hold", arguments)
    eventually(lambda: len(journal.entries) == 1, "the first of them")
    first.sigkill()
    second = boxed.worker()
    gate.touch()
    ends = replies(vhost, 3)
    assert sorted(ends) == sorted(ids)
    assert {end["attempts"] for end in ends.values()} == {1}
    assert len(journal.entries) == 4
    second.sigterm()
    assert second.wait() == 0
    assert second.lines("split 3")
    assert vhost.ready("queue_a") == 0


def test_a_worker_that_stops_gives_back_what_it_has_not_begun_of_a_batch(boxed: Installation) -> None:
    vhost, journal, gate = boxed.vhost, boxed.journal(), boxed.gate()
    first = boxed.worker()
    before = publish_batch(vhost, "hold", [{"journal": str(journal), "gate": str(gate)}])
    eventually(lambda: len(journal.entries) == 1, "the one that runs")
    ids = publish_batch(vhost, "note", [{"journal": str(journal)} for _ in range(4)])
    eventually(lambda: vhost.ready("queue_a") == 0, "the delivery of the others")
    first.sigterm()
    first.wait_for("finishing what runs")
    gate.touch()
    assert first.wait() == 0
    assert [entry["id"] for entry in journal.entries] == before
    boxed.worker()
    ends = replies(vhost, 5)
    assert sorted(ends) == sorted([*before, *ids])
    assert len(journal.entries) == 5


def test_a_batch_that_cannot_be_read_is_one_dead_letter_and_its_requester_hears_of_it(boxed: Installation) -> None:
    boxed.worker()
    vhost = boxed.vhost
    properties = task("note", reply_to="mailbox.results")
    properties.headers = {**properties.headers, "batch": 3}
    content = msgpack.packb([[new_id(), {}]])
    vhost.publish("tasks", "note", content, properties)
    (letter,) = vhost.read_dead("queue_a")
    assert (letter.reason.code, letter.body) == ("bad_properties", content)
    assert replies(vhost, 1)[properties.message_id]["error"]["code"] == "bad_properties"


def test_of_a_batch_that_the_broker_buried_each_task_is_reported(install: Install) -> None:
    installation = install(mailboxes=["results"])
    installation.declare()
    vhost = installation.vhost
    ids = [new_id() for _ in range(3)]
    properties = task("note", reply_to="mailbox.results", expiration="1")
    properties.headers = {**properties.headers, "batch": 3}
    vhost.publish("tasks", "note", pack_batch([(one, body()) for one in ids]), properties)
    (letter,) = vhost.read_dead("queue_a")
    assert letter.reason.code == "expired"
    installation.worker("queue_b")
    ends = replies(vhost, 3)
    assert {one: end["error"]["code"] for one, end in ends.items()} == dict.fromkeys(ids, "expired")


def test_coroutines_of_a_batch_run_at_the_same_time(install: Install) -> None:
    installation = install(
        mailboxes=["results"],
        tasks={"async_echo": {"queue": "queue_a", "handler": f"{_HANDLERS}:async_echo", "executor": "async"}},
        worker={"concurrency": 8},
    )
    installation.worker()
    ids = publish_batch(installation.vhost, "async_echo", [{"value": number} for number in range(20)])
    ends = replies(installation.vhost, 20)
    assert [ends[one]["result"] for one in ids] == list(range(20))
