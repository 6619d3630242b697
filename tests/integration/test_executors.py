"""Threads and coroutines promise less than processes, and what they promise holds."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from protocol.codec import NotEncodable
from protocol.reply import Reply
from tests.support.installation import Install, Installation
from tests.support.vhost import Vhost, body, task

KINDS = ("process", "thread", "async")


def _tasks(kind: str) -> dict[str, Any]:
    """One task for each behaviour; ``async def`` handlers where the executor needs them."""
    prefix = "async_" if kind == "async" else ""
    handlers = {
        "echo": f"{prefix}echo",
        "fail": f"{prefix}fail",
        "opaque": f"{prefix}opaque",
        "rich": f"{prefix}answer_richly",
        "reject": "async_reject" if prefix else "reject",
        "endless": "async_hold" if prefix else "hold",
        "leave": "async_leave" if prefix else "leave",
    }
    return {
        f"{kind}.{name}": {
            "queue": "queue_a",
            "handler": f"tests.support.handlers:{handler}",
            "executor": kind,
            "timeout_s": 0.5 if name == "endless" else 10.0,
        }
        for name, handler in handlers.items()
    }


@pytest.fixture
def installation(install: Install) -> Installation:
    """The usual one, with every behaviour in every executor."""
    return install(
        tasks={name: task for kind in KINDS for name, task in _tasks(kind).items()},
        defaults={"retry": {"max_retries": 1, "backoff_s": [0.1]}},
    )


def test_every_executor_returns_results_and_distinguishes_failures(installation: Installation) -> None:
    worker = installation.worker()
    assert worker.lines("2 at a time (worker.concurrency; of coroutines it may be hundreds)")
    caller, gate = installation.caller(), installation.gate()
    value = {"text": "ä", "list": [1, None, True], "bytes": b"\x00\xff"}
    arguments: dict[str, dict[str, Any]] = {
        "echo": {"value": value},
        "fail": {"times": 1},
        "opaque": {},
        "reject": {},
        "endless": {},
    }
    asked = {
        f"{kind}.{name}": caller.asking(
            f"{kind}.{name}", {"gate": str(gate)} if name == "endless" and kind != "async" else given
        )
        for kind in KINDS
        for name, given in arguments.items()
    }
    replies = {name: asking.result(30) for name, asking in asked.items()}
    for kind in KINDS:
        assert replies[f"{kind}.echo"].result == value
        assert replies[f"{kind}.fail"].run.attempts == 2
        assert _code(replies[f"{kind}.opaque"]) == "result_not_encodable"
        assert _code(replies[f"{kind}.reject"]) == "rejected"
        assert _code(replies[f"{kind}.endless"]) == "timed_out"
    assert not worker.lines("CRITICAL")
    assert not worker.lines("link down")
    worker.sigterm()
    assert worker.wait() == 0


def test_values_of_richer_kinds_come_as_plain_data_and_what_cannot_be_carried_is_named(
    installation: Installation,
) -> None:
    installation.worker()
    caller = installation.caller()
    for kind in KINDS:
        assert caller.ask(f"{kind}.rich", {"price": Decimal("9.90")}).result == {
            "got": "9.90",
            "at": "2026-11-30T14:41:00+00:00",
            "sum": "1.50",
            "both": ["2026-11-30"],
            "id": ["00000000-0000-0000-0000-000000000007"],
        }
        failure = caller.ask(f"{kind}.opaque").failure
        assert failure is not None
        assert failure.text.startswith('result["rows"][1]: object cannot be carried. Allowed are None, bool,')
    with pytest.raises(NotEncodable, match=r'^arguments\["price"\]\[0\]: complex cannot be carried'):
        caller.ask("process.rich", {"price": [1j]})
    assert installation.vhost.ready("queue_a") == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_that_exits_takes_no_other_task_along(installation: Installation, kind: str) -> None:
    worker, caller = installation.worker(), installation.caller()
    assert _code(caller.ask(f"{kind}.leave", timeout_s=10)) == "retries_exhausted"
    assert caller.ask(f"{kind}.echo", {"value": 2}, timeout_s=10).result == 2
    assert not worker.lines("CRITICAL")


def test_the_async_executor_refuses_a_handler_that_is_not_async(install: Install) -> None:
    installation = install(tasks={"echo": {"executor": "async"}})
    worker = installation.worker(ready=False)
    assert worker.wait() == 78
    assert worker.lines("tests.support.handlers:echo")


def test_a_reply_to_a_mailbox_waits_there(install: Install) -> None:
    installation = install(mailboxes=["results"])
    installation.worker()
    caller = installation.caller()
    task_id = caller.submit("echo", {"value": "kept"}, mailbox="results")
    (reply,) = installation.vhost.messages("mailbox.results")
    assert (reply.properties.type, reply.properties.correlation_id) == ("done", task_id)
    assert (reply.value["id"], reply.value["result"]) == (task_id, "kept")


def test_a_reply_to_a_mailbox_that_is_gone_becomes_a_dead_letter_with_the_reply_as_its_body(
    installation: Installation, vhost: Vhost
) -> None:
    installation.worker()
    journal = installation.journal()
    properties = task("note", reply_to="mailbox.nowhere")
    vhost.publish("tasks", "note", body(journal=str(journal)), properties)
    (letter,) = vhost.read_dead("queue_a")
    assert letter.reason.code == "no_mailbox"
    assert letter.properties.correlation_id == properties.message_id
    assert (letter.value["id"], letter.value["result"]) == (properties.message_id, 1)
    assert len(journal.entries) == 1
    assert vhost.ready("queue_a") == 0


def _code(reply: Reply) -> str:
    assert reply.failure is not None, reply
    return reply.failure.code


STUBBORN = """
import asyncio, time

async def swallow():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

async def block():
    time.sleep(30)
"""


@pytest.mark.parametrize("name", ["swallow", "block"])
def test_a_coroutine_that_cannot_be_cancelled_is_not_waited_for(install: Install, name: str) -> None:
    stubborn = {"queue": "queue_a", "handler": f"stubborn:{name}", "executor": "async", "timeout_s": 0.5}
    installation = install(tasks={"stubborn": {**stubborn, "retry": {"max_retries": 0}}}, worker={"grace_s": 2})
    (installation.folder / "stubborn.py").write_text(STUBBORN)
    worker, caller = installation.worker(), installation.caller()
    reply = caller.ask("stubborn", timeout_s=10)
    assert reply.failure is not None
    assert reply.failure.code == "timed_out"
    assert caller.ask("echo", {"value": 1}).result == 1
    worker.sigterm()
    assert worker.wait(8) == 0
