"""Replies that are there together leave together, if who asks reads them so. Who asks is played here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from dispatcher.errors import ReplyUnreadable
from protocol.names import DIRECT_REPLY_TO, new_id
from tests.support.by_hand import answer, reply, together
from tests.support.installation import Installation
from tests.support.vhost import body, task

TASKS = 200
WIDE = {
    "defaults": {"timeout_s": 10},
    "queues": {"queue_a": {"prefetch": TASKS}},
    "tasks": {"echo": {"executor": "thread"}},
}


def replies_to(installation: Installation, headers: dict[str, Any]) -> list[Any]:
    """The value of each message that comes for ``TASKS`` tasks, which all wait when their worker starts."""
    ids = [new_id() for _ in range(TASKS)]
    messages: list[Any] = []
    answered: list[str] = []
    installation.declare()
    with installation.vhost.channel() as channel:

        def on_reply(_channel: Any, _method: Any, properties: Any, raw: bytes) -> None:
            value = msgpack.unpackb(raw)
            entries = value if isinstance(value, list) else [value]
            assert properties.type == ("batch" if isinstance(value, list) else "done")
            assert properties.correlation_id in [entry["id"] for entry in entries]
            messages.append(value)
            answered.extend(entry["id"] for entry in entries)

        channel.basic_consume(DIRECT_REPLY_TO, on_reply, auto_ack=True)
        for number, task_id in enumerate(ids):
            properties = task("echo", task_id=task_id, reply_to=DIRECT_REPLY_TO, headers={"v": 1, **headers})
            channel.basic_publish("tasks", "echo", body(value=number), properties, mandatory=True)
        installation.worker("queue_a")
        while len(answered) < TASKS:
            before = len(messages)
            channel.connection.process_data_events(time_limit=20)
            assert len(messages) > before, f"{len(answered)} of {TASKS} replies, and no more within 20 s"
    assert sorted(answered) == sorted(ids)
    return messages


@pytest.mark.every_broker(long=True)
def test_who_reads_joined_replies_gets_fewer_messages_and_each_reply_once(
    install: Callable[..., Installation],
) -> None:
    messages = replies_to(install(**WIDE), {"joined_replies": 1})
    assert len(messages) < TASKS
    assert any(isinstance(value, list) for value in messages)


def test_who_does_not_say_so_gets_a_message_for_each_reply(install: Callable[..., Installation]) -> None:
    messages = replies_to(install(**WIDE), {})
    assert [isinstance(value, dict) for value in messages] == TASKS * [True]


def test_a_dispatcher_says_so_and_reads_replies_to_calls_that_it_made_one_by_one(
    installation: Installation,
) -> None:
    caller = installation.caller()
    asking = [caller.asking("echo") for _ in range(3)]
    letters = installation.vhost.messages("queue_a", 3)
    assert [letter.headers["joined_replies"] for letter in letters] == [1, 1, 1]
    ids = [letter.properties.message_id for letter in letters]
    answer(installation.vhost, letters[1], together([reply(task_id, task_id) for task_id in reversed(ids)]))
    assert sorted(one.result(10).result for one in asking) == sorted(ids)


def test_a_reply_that_cannot_be_read_ends_its_own_call_and_none_beside_it(installation: Installation) -> None:
    caller = installation.caller()
    one, odd, other = (caller.asking("echo") for _ in range(3))
    letters = {letter.properties.message_id: letter for letter in installation.vhost.messages("queue_a", 3)}
    first, broken, last = letters
    entry = msgpack.packb({"id": broken, "result": msgpack.ExtType(1, b"x"), "attempts": 1})
    answer(installation.vhost, letters[first], together([reply(first, 1), entry, reply(last, 3)]))
    ends = {first: 1, last: 3}
    results = [future.exception(10) or future.result().result for future in (one, odd, other)]
    assert sorted(result for result in results if isinstance(result, int)) == sorted(ends.values())
    assert [type(result) for result in results if not isinstance(result, int)] == [ReplyUnreadable]
