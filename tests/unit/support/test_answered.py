"""The judge of requesters, on logs made by hand: a task whose end was heard is not published again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.answered import READ_S, Answered
from tests.support.frames import By, Event

ID, OTHER, BATCH = "a" * 32, "b" * 32, "c" * 32
DIRECT = "amq.rabbitmq.reply-to"


def event(kind: str, at: float, by: By = "client", connection: int = 0, **fields: Any) -> Event:
    return Event(kind=kind, by=by, at=at, connection=connection, **fields)


def opened(at: float = 0.0, connection: int = 0, queue: str = DIRECT) -> list[Event]:
    return [
        event("hello", at, connection=connection, name="dispatcher-h-1"),
        event("consume", at, connection=connection, queue=queue, name="tag"),
    ]


def publish(at: float, task_id: str = ID, connection: int = 0, **fields: Any) -> Event:
    return event("publish", at, connection=connection, **{"exchange": "tasks", "id": task_id} | fields)


def reply(at: float, task_id: str = ID, **fields: Any) -> Event:
    return event("deliver", at, "broker", name="tag", id=task_id, **fields)


def ack(at: float) -> Event:
    return event("ack", at)


def end(at: float) -> Event:
    return event("end", at, "proxy")


READ = 2.0 + READ_S
FAITHFUL: dict[str, list[Event]] = {
    "asked once": [*opened(), publish(1.0), reply(2.0), ack(READ)],
    "asked again before its reply": [
        *opened(),
        publish(1.0),
        end(1.5),
        *opened(1.6, 1),
        publish(1.7, connection=1),
    ],
    "asked again, the reply was not read": [
        *(*opened(), publish(1.0), reply(2.0), ack(READ - 0.1), end(READ)),
        *(*opened(3.0, 1), publish(3.1, connection=1)),
    ],
    "another one": [*opened(), publish(1.0), reply(2.0), publish(READ, OTHER)],
    "what comes from elsewhere": [
        *opened(queue="mailbox.m"),
        publish(1.0),
        reply(2.0),
        publish(READ),
        publish(9.0),
    ],
    "told to somebody else": [*opened(), publish(1.0), reply(2.0), ack(READ), publish(3.0, exchange="replies")],
    "the rest of a batch": [
        *(*opened(), publish(1.0, BATCH, ids=(ID, OTHER)), reply(2.0), ack(READ), end(2.9)),
        *(*opened(3.0, 1), publish(3.1, BATCH, connection=1, ids=(OTHER,))),
    ],
}
FAITHLESS: dict[str, list[Event]] = {
    "asked again": [
        *(*opened(), publish(1.0), reply(2.0), ack(READ), end(2.9)),
        *(*opened(3.0, 1), publish(3.1, connection=1)),
    ],
    "asked again by the delay line": [
        *opened(),
        publish(1.0),
        reply(2.0),
        publish(READ, exchange="tasks.delay.03"),
    ],
    "the whole batch again": [
        *(*opened(), publish(1.0, BATCH, ids=(ID, OTHER)), reply(2.0), ack(READ), end(2.9)),
        *(*opened(3.0, 1), publish(3.1, BATCH, connection=1, ids=(ID, OTHER))),
    ],
    "answered together with others": [*opened(), publish(1.0), reply(2.0, BATCH, ids=(OTHER, ID)), publish(READ)],
}


def violations(events: list[Event]) -> list[str]:
    judge = Answered()
    for one in events:
        judge.take(one)
    return judge.violations


@pytest.mark.parametrize("events", FAITHFUL.values(), ids=FAITHFUL)
def test_who_asks_again_for_what_it_has_not_heard_of_is_let_pass(events: list[Event]) -> None:
    assert violations(events) == []


@pytest.mark.parametrize("events", FAITHLESS.values(), ids=FAITHLESS)
def test_who_asks_again_for_what_was_answered_is_found(events: list[Event]) -> None:
    (found,) = violations(events)
    assert "dispatcher-h-1" in found
    assert f"{ID} was answered at 2.000, and is published again" in found
