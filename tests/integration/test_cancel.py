"""Tasks that somebody cancelled: wherever they are they end as `cancelled`, and cost no other task anything."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from protocol.control import Inspect
from protocol.names import new_id
from protocol.reply import Reply
from tests.support.commands import command
from tests.support.installation import Install, Installation
from tests.support.letters import bury, dead_task
from tests.support.replies import replies_in
from tests.support.slowness import in_time
from tests.support.steering import CONTROL, SHORT, fill, kept, steer
from tests.support.vhost import body, task
from tests.support.waiting import eventually

HANDLERS = "tests.support.handlers"
BOX: dict[str, Any] = {"mailboxes": ["box"], "control": CONTROL}


def sent(installation: Installation, name: str = "note", exchange: str = "tasks", **arguments: Any) -> str:
    """Send a task that is answered to a mailbox; its id."""
    task_id = new_id()
    headers = {"v": 1, "sent_at": time.time_ns() // 1_000_000}
    properties = task(name, task_id=task_id, reply_to="mailbox.box", correlation_id=task_id, headers=headers)
    installation.vhost.publish(exchange, name, body(**arguments), properties)
    return task_id


def ends(installation: Installation, count: int) -> dict[str, str]:
    """By its id how each task ended: its code, or ``done``."""
    letters = installation.vhost.messages("mailbox.box", count, within_s=30)
    replies: list[Reply] = [reply for letter in letters for reply in replies_in(letter.body)]
    return {reply.id: "done" if reply.failure is None else reply.failure.code for reply in replies}


def no_letters(installation: Installation) -> bool:
    return installation.vhost.ready("queue_a.dead") == 0


@pytest.mark.every_broker(long=True)
def test_what_was_cancelled_with_all_workers_down_never_runs(install: Install) -> None:
    installation = install(**BOX)
    installation.declare()
    journal = installation.journal()
    ids = [sent(installation, journal=str(journal)) for _ in range(5)]
    steer(installation, "cancel", *ids[:3])
    installation.worker()
    assert ends(installation, 5) == {**dict.fromkeys(ids[:3], "cancelled"), **dict.fromkeys(ids[3:], "done")}
    assert sorted(journal.ids) == sorted(ids[3:])
    assert no_letters(installation)


@pytest.mark.every_broker(long=True)
def test_what_waits_in_the_delay_line_ends_when_it_arrives(install: Install) -> None:
    installation = install(**BOX, defaults={"retry": {"backoff_s": [10.0]}})
    worker, journal, caller = installation.worker(), installation.journal(), installation.caller()
    delayed = caller.asking("note", {"journal": str(journal)}, delay_s=10)
    retried = sent(installation, "fail", journal=str(journal))
    [first] = journal.wait(1)
    assert first["id"] == retried
    steer(installation, "cancel", retried)
    steer(installation, "cancel", "--task", "note")
    failure = delayed.result(30).failure
    assert failure is not None
    assert failure.code == "cancelled"
    assert ends(installation, 1) == {retried: "cancelled"}
    assert journal.ids == [retried]
    assert no_letters(installation)
    assert worker.is_alive


def stop_of(executor: str) -> dict[str, Any]:
    handler = {"process": "hold", "async": "async_hold", "thread": "wait_to_be_cancelled"}[executor]
    return {
        "tasks": {
            "long": {"queue": "queue_a", "handler": f"{HANDLERS}:{handler}", "executor": executor},
            "note": {"executor": "thread" if executor == "async" else executor},
        },
        "worker": {"concurrency": 1, "cancel_grace_s": 0.5},
        "queues": {"queue_a": {"prefetch": 4}},
    }


@pytest.mark.parametrize("executor", ["process", "async", "thread"])
def test_what_runs_is_stopped_and_its_neighbours_are_charged_nothing(install: Install, executor: str) -> None:
    installation = install(**BOX, **stop_of(executor))
    worker, journal = installation.worker(), installation.journal()
    arguments = {"gate": str(installation.gate())} if executor == "process" else {}
    long = sent(installation, "long", journal=str(journal), **arguments)
    journal.wait(1)
    neighbours = [sent(installation, "note", journal=str(journal)) for _ in range(3)]
    eventually(lambda: installation.vhost.ready("queue_a") == 0, "the worker to hold all")
    assert long in steer(installation, "running", "-o", "plain").out
    steer(installation, "cancel", long)
    # A thread cannot be stopped. This handler looks whether it should, and is done.
    expected = "done" if executor == "thread" else "cancelled"
    assert ends(installation, 4) == {long: expected, **dict.fromkeys(neighbours, "done")}
    assert [entry["attempt"] for entry in journal.entries] == [1] * 4
    assert no_letters(installation)
    assert worker.is_alive


@pytest.mark.parametrize("start", ["spawn", pytest.param("fork", marks=pytest.mark.needs("/proc"))])
def test_a_handler_in_a_child_may_clean_up_after_sigterm(install: Install, start: str) -> None:
    clean_up = {"queue": "queue_a", "handler": f"{HANDLERS}:clean_up"}
    installation = install(**BOX, tasks={"clean_up": clean_up}, worker={"cancel_grace_s": 30, "start": start})
    journal = installation.journal()
    installation.worker()
    cleaned = sent(installation, "clean_up", journal=str(journal))
    journal.wait(1)
    steer(installation, "cancel", cleaned)
    assert ends(installation, 1) == {cleaned: "cancelled"}
    assert journal.entries[1]["cleaned"] is True
    assert no_letters(installation)


def test_of_a_batch_those_end_that_are_cancelled_and_the_others_run(install: Install) -> None:
    installation = install(**BOX)
    journal, caller = installation.journal(), installation.caller()
    installation.declare()

    async def batch() -> list[Any]:
        arguments = [{"value": number, "journal": str(journal)} for number in range(4)]
        return [one async for one in caller.dispatcher.map("echo", arguments, batch=4)]

    asked = caller.start(batch())
    eventually(lambda: installation.vhost.ready("queue_a") == 1, "the batch in its queue")
    [letter] = installation.vhost.messages("queue_a")
    ids = [task_id for task_id, _ in letter.value]
    installation.vhost.publish("tasks", "echo", letter.body, letter.properties)
    steer(installation, "cancel", ids[1], ids[2])
    installation.worker()
    ended = sorted(asked.result(30), key=lambda one: one.line)
    failures = [one.end.failure and one.end.failure.code for one in ended]
    assert failures == [None, "cancelled", "cancelled", None]
    assert sorted(journal.ids) == sorted([ids[0], ids[3]])


def test_a_replay_that_was_made_before_the_cancel_ends_and_one_that_was_made_after_it_runs(
    install: Install,
) -> None:
    installation = install(**BOX)
    installation.declare()
    journal = installation.journal()
    ids = bury(installation.settings, [dead_task("note", packed=body(journal=str(journal))) for _ in range(2)])
    steer(installation, "dead", "replay", "queue_a", "--id", ids[0])
    steer(installation, "cancel", *ids)
    steer(installation, "dead", "replay", "queue_a", "--id", ids[1])
    worker = installation.worker()
    journal.wait(1)
    worker.wait_for(f"task {ids[0]} (note) is cancelled: cancelled by ")
    assert journal.ids == [ids[1]]


@pytest.mark.every_broker(long=True)
@pytest.mark.timeout(120)
def test_a_cancel_holds_long_after_the_retention_has_passed(install: Install) -> None:
    installation = install(mailboxes=["box"], control=SHORT)
    worker = installation.worker()
    steer(installation, "pause", "queue_a")
    worker.wait_for("queue_a is paused by ")
    cancelled = sent(installation)
    steer(installation, "cancel", cancelled)
    said_at = kept(installation.vhost)[-1][0]

    def is_over() -> bool:
        fill(installation.vhost, 8)
        return kept(installation.vhost)[0][0] > said_at

    for _ in range(2):
        eventually(is_over, "the retention to pass", 40)
        said_at = kept(installation.vhost)[-1][0]
    late = installation.worker()
    worker.sigterm()
    assert worker.wait() == 0
    steer(installation, "resume", "queue_a")
    assert ends(installation, 1) == {cancelled: "cancelled"}
    assert late.lines("is cancelled")


def test_who_waits_learns_what_became_of_each(install: Install) -> None:
    installation = install(**BOX, worker={"concurrency": 1, "cancel_grace_s": 0.5})
    journal = installation.journal()
    installation.worker()
    done, failed = sent(installation), sent(installation, "reject")
    ends(installation, 2)
    runs = sent(installation, "hold", gate=str(installation.gate()), journal=str(journal))
    journal.wait(1)
    waits = sent(installation)
    now = command(installation.environment, "broker", "cancel", done, failed, runs, waits, "--wait", "-o", "plain")
    assert (now.code, now.err) == (0, "")
    assert dict(line.split("\t") for line in now.out.splitlines()) == {
        done: "done",
        failed: "failed",
        runs: "cancelled",
        waits: "cancelled",
    }
    unknown = new_id()
    late = command(installation.environment, "broker", "cancel", done, unknown, "--wait", "--timeout", "2")
    assert late.code == 75
    assert "not seen" in late.out


def test_who_waits_for_a_thread_or_for_a_worker_that_starts_later_learns_of_it(install: Install) -> None:
    installation = install(**BOX, **stop_of("thread"))
    installation.declare()
    waits = sent(installation)
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(command, installation.environment, "broker", "cancel", waits, "--wait", "-o", "plain")
        eventually(lambda: any(isinstance(one, Inspect) for _, one in kept(installation.vhost)), "the question")
        installation.worker()
        assert asking.result(30).out == f"{waits}\tcancelled\n"


@pytest.mark.parametrize("count", [2000, pytest.param(10_000, marks=pytest.mark.long)])
def test_exactly_those_end_that_were_cancelled_of_many(install: Install, count: int) -> None:
    installation = install(**BOX, worker={"concurrency": 4})
    installation.declare()
    ids = [new_id() for _ in range(count)]
    with installation.vhost.channel() as channel:
        for task_id in ids:
            properties = task("echo", task_id=task_id, reply_to="mailbox.box", correlation_id=task_id)
            channel.basic_publish("tasks", "echo", body(value=1), properties)
    steer(installation, "cancel", *ids[::10])
    installation.worker()
    found = ends(installation, count)
    assert {task_id for task_id, end in found.items() if end == "cancelled"} == set(ids[::10])
    assert len(found) == count


@pytest.mark.long
@pytest.mark.every_broker(long=True)
def test_a_start_with_a_hundred_thousand_cancelled_ids_is_hardly_slower(install: Install) -> None:
    installation = install(**BOX)
    before_s = min(installation.worker().ready_after_s for _ in range(2))
    for _ in range(50):
        steer(installation, "cancel", *(new_id() for _ in range(2000)))
    late_s = min(installation.worker().ready_after_s for _ in range(2))
    assert in_time(late_s - before_s, 2.0)
