"""A worker that dies between any two of its effects: everybody is told once, and each copy is explained.

The first worker ends at a failpoint, the second does the rest. What may happen twice, and nothing else:
a run whose ack did not arrive, a letter whose task was not acked after it, a reply that the dispatcher drops.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from protocol.names import new_id
from tests.support.commands import command
from tests.support.idle import finish
from tests.support.installation import Install, Installation
from tests.support.vhost import task
from tests.support.waiting import eventually
from tests.support.workers import WorkerProcess
from worker.failpoint import CRASHED, VARIABLE


@dataclass(frozen=True, kw_only=True)
class Crash:
    """Where the first worker ends while it handles what, and what comes of it."""

    at: str
    task: str = "note"
    arguments: dict[str, Any] = field(default_factory=dict)
    #: Error code of the reply; None: the task is done.
    code: str | None = None
    #: Attempt → how often it may start. Its first is run by both workers.
    starts: dict[int, set[int]] = field(default_factory=lambda: {1: {2}})
    letters: int = 0
    #: How many replies may come after the first, and are dropped.
    dropped: set[int] = field(default_factory=lambda: {0})

    def __str__(self) -> str:
        return f"{self.task}-{self.at}"


def done(at: str, dropped: int = 0) -> Crash:
    return Crash(at=at, dropped={dropped})


def retried(at: str, *, forks: bool) -> Crash:
    """One lineage, or two. The second of two meets the first in the ledger of the second worker: it is joined to
    a run of that task, or answered from memory, so that each attempt starts twice at most."""
    starts = {1: {1, 2}, 2: {0, 1, 2}} if forks else {1: {2}, 2: {1}}
    return Crash(at=at, task="fail", arguments={"times": 1}, starts=starts, dropped={0, 1} if forks else {0})


def rejected(at: str, letters: int, dropped: int = 0) -> Crash:
    return Crash(at=at, task="reject", code="rejected", letters=letters, dropped={dropped})


CRASHES = [
    done("after_work"),
    done("after_publish"),
    done("after_reply_confirm", dropped=1),
    done("after_remember", dropped=1),
    done("after_ack", dropped=1),
    retried("after_work", forks=False),
    retried("after_publish", forks=False),
    retried("after_retry_confirm", forks=True),
    retried("after_ack", forks=True),
    rejected("after_publish", letters=1),
    rejected("after_letter_confirm", letters=2),
    rejected("after_publish:2", letters=2),
    rejected("after_reply_confirm", letters=2, dropped=1),
    rejected("after_remember", letters=2, dropped=1),
    rejected("after_ack", letters=2, dropped=1),
]


def failing(installation: Installation, at: str) -> WorkerProcess:
    """A worker that will end there."""
    return installation.worker(ready=True, **{VARIABLE: at})


@pytest.mark.parametrize("crash", CRASHES, ids=str)
def test_a_crash_between_two_effects_loses_nothing_and_copies_only_what_it_must(
    installation: Installation, crash: Crash
) -> None:
    first = failing(installation, crash.at)
    caller, journal = installation.caller(), installation.journal()
    asking = caller.asking(crash.task, {**crash.arguments, "journal": str(journal)})
    assert first.wait(20) == CRASHED
    second = installation.worker()

    reply = asking.result(20)
    assert (reply.failure and reply.failure.code) == crash.code
    vhost = installation.vhost
    assert finish(vhost, second) == 0
    starts = Counter(entry["attempt"] for entry in journal.entries)
    assert set(journal.ids) == {reply.id}
    assert set(starts) <= set(crash.starts)
    assert all(starts[attempt] in allowed for attempt, allowed in crash.starts.items()), starts
    assert vhost.ready("queue_a.dead") == crash.letters
    letters = vhost.read_dead("queue_a", crash.letters) if crash.letters else []
    assert {(letter.properties.message_id, letter.reason.code) for letter in letters} <= {(reply.id, crash.code)}
    # The last reply is on its way when the worker acks; the dispatcher counts it when it arrives.
    eventually(lambda: caller.dispatcher.duplicates in crash.dropped, f"{crash.dropped} dropped replies", 5)
    assert caller.dispatcher.strangers == 0


@pytest.mark.parametrize(("at", "posted"), [("after_publish", 1), ("after_reply_confirm", 2), ("after_ack", 2)])
def test_the_reader_of_a_mailbox_gets_one_reply_however_often_it_was_posted(
    install: Install, at: str, posted: int
) -> None:
    installation = install(mailboxes=["box"])
    first, vhost = failing(installation, at), installation.vhost
    task_id = installation.caller().submit("note", mailbox="box")
    assert first.wait(20) == CRASHED
    assert finish(vhost, installation.worker()) == 0
    assert vhost.ready("mailbox.box") == posted
    collected = command(installation.environment, "dispatcher", "collect", "box")
    assert [(one["id"], one["result"]) for one in collected.objects] == [(task_id, 1)]
    assert vhost.ready("mailbox.box") == 0


@pytest.mark.parametrize(
    ("at", "letters", "posted"),
    [("after_letter_confirm", 2, 1), ("after_reply_confirm", 2, 2), ("after_ack", 2, 2)],
)
def test_a_message_that_is_refused_is_not_lost_by_a_crash(
    install: Install, at: str, letters: int, posted: int
) -> None:
    installation = install(mailboxes=["box"])
    first, vhost, task_id = failing(installation, at), installation.vhost, new_id()
    vhost.publish("tasks", "note", b"\xc1", task(task_id=task_id, reply_to="mailbox.box"))
    assert first.wait(20) == CRASHED
    assert finish(vhost, installation.worker()) == 0
    assert vhost.ready("queue_a.dead") == letters
    assert {letter.reason.code for letter in vhost.read_dead("queue_a", letters)} == {"undecodable"}
    assert vhost.ready("mailbox.box") == posted


@pytest.mark.parametrize(("at", "dropped"), [("after_publish", 0), ("after_reply_confirm", 1), ("after_ack", 1)])
def test_an_obituary_is_reported_again_by_the_next_worker(
    installation: Installation, at: str, dropped: int
) -> None:
    first, vhost, caller = failing(installation, at), installation.vhost, installation.caller()
    asking = caller.asking("note_b", expires_s=0.2)
    assert first.wait(20) == CRASHED
    second = installation.worker()
    failure = asking.result(20).failure
    assert failure is not None
    assert failure.code == "expired"
    assert finish(vhost, second) == 0
    assert [letter.properties.message_id for letter in vhost.read_dead("queue_b")] == [asking.result().id]
    eventually(lambda: caller.dispatcher.duplicates == dropped, f"{dropped} dropped replies", 5)
