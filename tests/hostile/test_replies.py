"""Replies that no worker of ours sends: a call ends typed or goes on, no other call is touched, nothing is built.

They come from a stranger's connection to the address of a dispatcher that waits, which is the worst case: whoever
answers was a worker once, or has read a task's properties.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import msgpack
import pika
import pytest

from dispatcher.client import Dispatcher
from dispatcher.errors import NoReply, ReplyUnreadable, TaskFailed
from protocol.names import mailbox_queue, new_id
from protocol.reply import Reply
from tests.support.by_hand import post, reply
from tests.support.hostile_bodies import ALL
from tests.support.hostile_properties import HEADERS, NOT_UTF8, SHORT_STRINGS
from tests.support.hostile_socket import Socket, long, short
from tests.support.installation import Install, Installation
from tests.support.vhost import Letter
from tests.support.waiting import run

RUN = {"attempts": 1, "worker": "w:1", "queued_ms": 0, "ran_ms": 0}
ERROR = {"code": "rejected", "type": "E", "text": "t"}
MISSING = object()


def changed(**changes: Any) -> dict[str, Any]:
    """A reply with some of its fields changed, or missing."""
    fields = {"result": 1, **RUN, **changes}
    return {key: value for key, value in fields.items() if value is not MISSING}


#: Maps that are no replies.
MAPS: dict[str, Any] = {
    "neither result nor error": changed(result=MISSING),
    "attempts of -1": changed(attempts=-1),
    "attempts as text": changed(attempts="1"),
    "attempts as truth": changed(attempts=True),
    "half an attempt": changed(attempts=0.5),
    "no attempts": changed(attempts=MISSING),
    "a worker that is bytes": changed(worker=b"w"),
    "no worker": changed(worker=MISSING),
    "ran for infinity": changed(ran_ms=float("inf")),
    "queued for nothing": changed(queued_ms=None),
    "an error that is text": changed(result=MISSING, error="E"),
    "an error without a code": changed(result=MISSING, error={**ERROR, "code": None}),
    "an error whose type is bytes": changed(result=MISSING, error={**ERROR, "type": b"E"}),
    "an error without a text": changed(result=MISSING, error={"code": "c", "type": "E"}),
}


class Duel:
    """A dispatcher that waits for replies, and a stranger that answers."""

    def __init__(self, installation: Installation, raw: Socket) -> None:
        self.caller, self._vhost, self._raw = installation.caller(), installation.vhost, raw

    def calls(self, count: int) -> list[tuple[Future[Reply], Letter]]:
        """So many calls that wait, each with its task."""
        askings = [self.caller.asking("echo", {"value": number}) for number in range(count)]
        letters = {letter.value["value"]: letter for letter in self._vhost.messages("queue_a", count)}
        return [(asking, letters[number]) for number, asking in enumerate(askings)]

    def answer(self, letter: Letter, body: bytes, **properties: bytes | None) -> None:
        """Send this to the address of the task; its correlation is right, unless it is among ``properties``."""
        fields: Mapping[str, bytes | None] = {
            "correlation_id": short(letter.properties.message_id),
            **properties,
        }
        present = {key: value for key, value in fields.items() if value is not None}
        self._raw.send_message("", letter.properties.reply_to, body, present)

    def unharmed(self) -> None:
        """Nothing was lost, and another call is answered."""
        self._raw.wait()
        [(asking, letter)] = self.calls(1)
        self.answer(letter, reply(letter.properties.message_id, "fine"))
        assert asking.result(10).result == "fine"
        assert self.caller.dispatcher.generation == 1


@pytest.fixture
def duel(installation: Installation, raw: Socket) -> Duel:
    return Duel(installation, raw)


def test_a_reply_that_is_none_ends_its_own_call_with_an_error_and_no_other(duel: Duel) -> None:
    bodies = [
        *(content for _, content in ALL.values()),
        *(msgpack.packb({"id": "?", **table}) for table in MAPS.values()),
    ]
    calls = duel.calls(len(bodies) + 5)
    for (_, letter), content in zip(calls, bodies, strict=False):
        task_id = letter.properties.message_id
        duel.answer(letter, content.replace(b"\xa1?", b"\xd9\x20" + task_id.encode()))
    for _, letter in calls[len(bodies) :]:
        duel.answer(letter, reply(letter.properties.message_id, "fine"))
    for asking, _ in calls[: len(bodies)]:
        with pytest.raises(ReplyUnreadable):
            asking.result(20)
    assert [asking.result(10).result for asking, _ in calls[len(bodies) :]] == ["fine"] * 5
    duel.unharmed()


def test_a_reply_for_others_leaves_a_call_alone(duel: Duel) -> None:
    bodies = [
        msgpack.packb([]),
        msgpack.packb(changed(id=new_id())),
        msgpack.packb([changed(id=new_id()) for _ in range(1000)]),
        b"\xc1",
        b"",
    ]
    correlations = [None, short(""), short("x" * 255), short(NOT_UTF8), short(new_id())]
    calls = duel.calls(len(bodies))
    for (_, letter), content, correlation in zip(calls, bodies, correlations, strict=True):
        duel.answer(letter, content, correlation_id=correlation)
    for asking, letter in calls:
        assert not asking.done()
        duel.answer(letter, reply(letter.properties.message_id, "fine"))
    assert [asking.result(10).result for asking, _ in calls] == ["fine"] * len(calls)
    duel.unharmed()


@pytest.mark.every_broker(long=True)
def test_whatever_its_properties_are_a_sound_reply_is_one(duel: Duel) -> None:
    """Its body alone says whose it is. What cannot be decoded costs no connection."""
    changes = {**HEADERS, **SHORT_STRINGS}
    calls = duel.calls(len(changes))
    for (_, letter), (_, change) in zip(calls, changes.values(), strict=True):
        duel.answer(letter, reply(letter.properties.message_id, "fine"), **{**change, "reply_to": None})
    assert [asking.result(20).result for asking, _ in calls] == ["fine"] * len(calls)
    duel.unharmed()


NAMES = [
    "os.system",
    "antigravity",
    "antigravity:fly",
    "builtins.eval",
    "KeyboardInterrupt",
    "SystemExit",
    "",
    "a\nb",
]


def test_an_error_is_reported_by_its_name_and_never_built_from_it(duel: Duel) -> None:
    calls = duel.calls(len(NAMES))
    for (_, letter), name in zip(calls, NAMES, strict=True):
        failed = changed(
            id=letter.properties.message_id, result=MISSING, error={"code": name, "type": name, "text": "id"}
        )
        duel.answer(letter, msgpack.packb(failed), type=short(name), headers=long(b""))
    for (asking, _), name in zip(calls, NAMES, strict=True):
        failure = asking.result(10).failure
        assert failure is not None
        assert (failure.code, failure.type, failure.text) == (name, name, "id")
        assert type(TaskFailed(asking.result())) is TaskFailed
    assert "antigravity" not in sys.modules
    duel.unharmed()


def test_the_first_of_contrary_replies_counts(duel: Duel) -> None:
    [(asking, letter)] = duel.calls(1)
    task_id = letter.properties.message_id
    both = [changed(id=task_id, result="first"), changed(id=task_id, result="second")]
    duel.answer(letter, msgpack.packb(both))
    duel.answer(letter, b"\xc1")
    duel.answer(letter, reply(task_id, "third"))
    assert asking.result(10).result == "first"
    duel.unharmed()
    assert duel.caller.dispatcher.duplicates == 3


def test_what_is_no_reply_in_a_mailbox_hides_none(installation: Installation, raw: Socket) -> None:
    caller, vhost = installation.caller(), installation.vhost
    honest = [caller.submit("echo", mailbox="box") for _ in range(3)]
    sent = {"correlation_id": short(honest[0])}
    post(vhost, "box", honest[0])
    for _, content in ALL.values():
        raw.send_message("replies", "box", content, sent)
    for code, change in HEADERS.values():
        if code:
            present = {name: value for name, value in (sent | change).items() if value is not None}
            raw.send_message("replies", "box", b"\xc1", present)
    raw.wait()
    for task_id in honest[1:]:
        post(vhost, "box", task_id)

    async def collected() -> list[str]:
        return [one.id async for one in caller.dispatcher.collect("box", count=3, timeout_s=20)]

    assert caller.run(collected()) == honest
    assert caller.dispatcher.generation == 1
    assert vhost.ready(mailbox_queue("box")) == 0


def test_a_reply_in_the_very_moment_in_which_its_caller_gives_up_costs_no_connection(install: Install) -> None:
    installation = install()

    async def scenario() -> None:
        async with Dispatcher(installation.settings) as dispatcher:
            asking = asyncio.create_task(dispatcher.ask("echo", {"value": 1}))
            letter = (await asyncio.to_thread(installation.vhost.messages, "queue_a"))[0]
            asking.cancel()
            # What the connection does when a reply arrives before the loop has come round to the caller.
            content = reply(letter.properties.message_id, "late")
            dispatcher._asking._on_reply(pika.spec.Basic.Deliver(), letter.properties, content)
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert dispatcher.generation == 1

    run(scenario())


def test_a_caller_who_gives_up_at_its_deadline_does_not_end_the_watch_over_deadlines(
    install: Install,
) -> None:
    installation = install()

    async def scenario() -> None:
        async with Dispatcher(installation.settings) as dispatcher:
            asking = asyncio.create_task(dispatcher.ask("echo", {"value": 1}))
            (letter,) = await asyncio.to_thread(installation.vhost.messages, "queue_a")
            asking.cancel()
            # What the watch does when the deadline passes before the loop has come round to the caller.
            overdue = NoReply(letter.properties.message_id, 1.0, accepted=True)
            dispatcher._asking.pending.end(letter.properties.message_id, overdue)
            with pytest.raises(asyncio.CancelledError):
                await asking
            with pytest.raises(NoReply):
                await dispatcher.ask("echo", {"value": 2}, timeout_s=0.5)

    run(scenario())
