"""The judge of wire logs, on logs made by hand: what it must let pass, and what it must find."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.ack_auditor import audit
from tests.support.frames import By, Event

ID = "0123456789abcdef" * 2
OTHER = "f" * 32
BATCH = "b" * 32
DIRECT = "amq.rabbitmq.reply-to.abc.def"
CONSUME, PUBLISH = 0, 1


def event(kind: str, by: By = "client", connection: int = CONSUME, channel: int = 1, **fields: Any) -> Event:
    return Event(kind=kind, by=by, connection=connection, channel=channel, **fields)


def started(prefetch: int = 2, consume: int = CONSUME, publish: int = PUBLISH) -> list[Event]:
    """A worker with its two connections."""
    return [
        event("hello", connection=consume, name="worker-h-1 consume"),
        event("channel_open", connection=consume),
        event("qos", connection=consume, prefetch=prefetch),
        event("consume", connection=consume, queue="queue_a", name="tag"),
        event("hello", connection=publish, name="worker-h-1 publish"),
        event("confirm_select", connection=publish),
    ]


def deliver(
    tag: int = 1, task_id: str = ID, reply_to: str = DIRECT, connection: int = CONSUME, resent: int = 0
) -> Event:
    return event(
        "deliver", "broker", connection, tag=tag, name="tag", id=task_id, reply_to=reply_to, resent=resent
    )


def batch(tag: int = 1, reply_to: str = DIRECT, connection: int = CONSUME, ids: tuple[str, ...] = ()) -> Event:
    """A delivery of two tasks."""
    return event(
        "deliver", "broker", connection, tag=tag, name="tag", id=BATCH, reply_to=reply_to, ids=ids or (ID, OTHER)
    )


def together(seq: int = 1, *ids: str, exchange: str = "", routing_key: str = DIRECT) -> Event:
    """Many replies in one message."""
    return event(
        "publish", connection=PUBLISH, tag=seq, exchange=exchange, routing_key=routing_key, id=BATCH, ids=ids
    )


def publish(
    seq: int = 1, exchange: str = "", routing_key: str = DIRECT, task_id: str = ID, kind: str = ""
) -> Event:
    return event(
        "publish",
        connection=PUBLISH,
        tag=seq,
        exchange=exchange,
        routing_key=routing_key,
        id=task_id,
        type=kind,
    )


def failure(seq: int = 2, **fields: Any) -> Event:
    """A reply that says so."""
    return publish(seq, kind="failed", **fields)


def confirm(seq: int = 1, multiple: bool = False) -> Event:
    return event("confirm", "broker", PUBLISH, tag=seq, multiple=multiple)


def returned(exchange: str, routing_key: str, task_id: str = ID) -> Event:
    return event("return", "broker", PUBLISH, exchange=exchange, routing_key=routing_key, id=task_id)


def refused(seq: int = 1) -> Event:
    return event("refuse", "broker", PUBLISH, tag=seq)


def ack(tag: int = 1, connection: int = CONSUME, channel: int = 1, multiple: bool = False) -> Event:
    return event("ack", connection=connection, channel=channel, tag=tag, multiple=multiple)


def ended(connection: int) -> Event:
    return event("end", "proxy", connection)


RETRY = ("tasks.delay.03", "1.0.note")
DEAD = ("tasks.dead", "queue_a")
BOX = ("replies", "box")

HONEST: dict[str, list[Event]] = {
    "a direct reply": [deliver(), publish(), confirm(), ack()],
    "a reply into a mailbox": [deliver(reply_to="mailbox.box"), publish(1, *BOX), confirm(), ack()],
    "a retry": [deliver(), publish(1, *RETRY), confirm(), ack()],
    "a task that comes again after its retry": [
        deliver(),
        publish(1, *RETRY),
        confirm(),
        ack(),
        deliver(2),
        publish(2),
        confirm(2),
        ack(2),
    ],
    "a dead letter, then the reply": [deliver(), publish(1, *DEAD), confirm(), publish(2), confirm(2), ack()],
    "a failure after its letter": [deliver(), publish(1, *DEAD), confirm(), failure(), confirm(2), ack()],
    "a failure into a mailbox": [
        *(deliver(reply_to="mailbox.box"), publish(1, *DEAD), confirm()),
        *(publish(2, *BOX, kind="failed"), confirm(2), ack()),
    ],
    "a failure that comes again and is told from memory": [
        *(deliver(), publish(1, *DEAD), confirm(), failure(), confirm(2)),
        *(deliver(2), failure(3), confirm(3), ack(2), ack()),
    ],
    "a failure that the broker told of": [
        event("consume", queue="tasks.obituaries", name="second"),
        event("deliver", "broker", tag=1, name="second", id=ID, reply_to=DIRECT),
        *(failure(1), confirm(), ack()),
    ],
    "a run that ends after its task was buried, which was lost with its connection": [
        *(deliver(), ended(CONSUME)),
        event("hello", connection=2, name="worker-h-1 consume"),
        event("consume", connection=2, queue="tasks.obituaries", name="second"),
        event("deliver", "broker", 2, tag=1, name="second", id=ID, reply_to=DIRECT),
        *(failure(1), confirm(), ack(connection=2), publish(2), confirm(2)),
    ],
    "a dead letter for one that cannot be told": [deliver(), publish(1, *DEAD), confirm(), ack()],
    "a missing mailbox": [
        deliver(reply_to="mailbox.box"),
        publish(1, *BOX),
        returned(*BOX),
        confirm(),
        publish(2, *DEAD),
        confirm(2),
        ack(),
    ],
    "no reply wanted": [deliver(reply_to=""), ack()],
    "no reply wanted, a retry": [deliver(reply_to=""), publish(1, *RETRY), confirm(), ack()],
    "one confirm for several": [
        deliver(),
        deliver(2, OTHER),
        publish(1),
        publish(2, task_id=OTHER),
        confirm(2, multiple=True),
        ack(2),
        ack(1),
    ],
    "refused, and sent again": [deliver(), publish(1, *RETRY), refused(), publish(2, *RETRY), confirm(2), ack()],
    "given back": [deliver(), event("nack", tag=1, requeue=True)],
    "lost with its connection, redelivered, answered from memory": [
        deliver(reply_to="mailbox.box"),
        publish(1, *BOX),
        confirm(),
        ended(CONSUME),
        *started(consume=2, publish=3)[:4],
        deliver(1, reply_to="mailbox.box", connection=2),
        publish(2, *BOX),
        confirm(2),
        ack(1, 2),
    ],
    "joined: one reply to the newest address, two acks": [
        deliver(),
        deliver(2, reply_to=DIRECT + "2"),
        publish(1, routing_key=DIRECT + "2"),
        confirm(),
        ack(1),
        ack(2),
    ],
    "joined by what was asked for before it: one reply to the address asked from last": [
        deliver(reply_to=DIRECT + "2", resent=1),
        deliver(2),
        publish(1, routing_key=DIRECT + "2"),
        confirm(),
        ack(1),
        ack(2),
    ],
    "letters of messages without an id": [
        deliver(task_id="", reply_to=""),
        publish(1, *DEAD, task_id=""),
        confirm(),
        ack(),
        deliver(2, task_id="no id of ours", reply_to=""),
        publish(2, *DEAD, task_id=""),
        confirm(2),
        ack(2),
    ],
    "an address that ends the connection": [
        deliver(),
        publish(),
        event("close", "broker", PUBLISH, 0, code=541),
        ended(PUBLISH),
        ack(),
    ],
    "acks that cross with the end of their channel": [
        deliver(),
        publish(),
        confirm(),
        event("channel_close", "broker", code=406),
        ack(),
    ],
    "acks that cross with the end of their connection": [deliver(), publish(), confirm(), ended(CONSUME), ack()],
    "a mailbox is read": [
        event("consume", queue="mailbox.box", name="reader"),
        event("deliver", "broker", tag=1, name="reader", id=ID, reply_to=""),
        ack(),
    ],
    "a mailbox is fetched from": [event("get_ok", "broker", tag=1, id=ID), ack()],
    "a consumer without acks may get anything": [
        event("consume", queue="amq.rabbitmq.reply-to", name="replies", no_ack=True),
        *(event("deliver", "broker", tag=tag, name="replies", id=ID) for tag in range(1, 9)),
    ],
    "as many as the prefetch": [deliver(1), deliver(2, OTHER)],
    "a batch, its replies together": [batch(), together(1, ID, OTHER), confirm(), ack()],
    "a batch, its replies as they come": [
        batch(),
        together(1, ID),
        publish(2, task_id=OTHER),
        confirm(2, multiple=True),
        ack(),
    ],
    "a batch, one of it tried again by itself": [
        batch(),
        publish(),
        publish(2, *RETRY, task_id=OTHER),
        confirm(2, multiple=True),
        ack(),
        deliver(2, OTHER),
        publish(3, task_id=OTHER),
        confirm(3),
        ack(2),
    ],
    "a batch, one of it tried again before the others are done": [
        batch(),
        publish(1, *RETRY, task_id=OTHER),
        confirm(),
        deliver(2, OTHER),
        publish(2, task_id=OTHER),
        confirm(2),
        ack(2),
        publish(3),
        confirm(3),
        ack(),
    ],
    "a batch, one of it dead": [
        batch(),
        publish(1, *DEAD, task_id=OTHER),
        confirm(),
        together(2, ID, OTHER),
        confirm(2),
        ack(),
    ],
    "a batch that comes again is split": [
        batch(),
        ended(CONSUME),
        *started(consume=2, publish=3)[:4],
        batch(connection=2),
        publish(1, *RETRY),
        publish(2, *RETRY, task_id=OTHER),
        confirm(2, multiple=True),
        ack(1, 2),
    ],
    "a batch that comes again, one of it known": [
        batch(),
        publish(),
        confirm(),
        ended(CONSUME),
        *started(consume=2, publish=3)[:4],
        batch(connection=2),
        publish(2),
        publish(3, *RETRY, task_id=OTHER),
        confirm(3, multiple=True),
        ack(1, 2),
    ],
    "a batch that is refused as a whole": [
        batch(),
        publish(1, *DEAD, task_id=BATCH),
        confirm(),
        together(2, ID, OTHER),
        confirm(2),
        ack(),
    ],
    "a batch that nobody can be told of": [batch(), publish(1, *DEAD, task_id=BATCH), confirm(), ack()],
    "a batch whose mailbox is missing": [
        batch(reply_to="mailbox.box"),
        together(1, ID, OTHER, exchange=BOX[0], routing_key=BOX[1]),
        returned(*BOX, task_id=BATCH),
        confirm(),
        publish(2, *DEAD),
        publish(3, *DEAD, task_id=OTHER),
        confirm(3, multiple=True),
        ack(),
    ],
    "a batch, no reply wanted": [batch(reply_to=""), publish(1, *RETRY), confirm(), ack()],
    "a batch is given back": [batch(), event("nack", tag=1, requeue=True)],
}


@pytest.mark.parametrize("log", HONEST.values(), ids=HONEST)
def test_an_honest_worker_is_believed(log: list[Event]) -> None:
    assert audit([*started(), *log]) == []


DISHONEST: dict[str, tuple[str, list[Event]]] = {
    "before the reply": ("before the confirm", [deliver(), ack()]),
    "before the confirm of the reply": ("before the confirm", [deliver(), publish(), ack(), confirm()]),
    "before the confirm of the retry": ("before the confirm", [deliver(), publish(1, *RETRY), ack(), confirm()]),
    "before the confirm of a retry that nobody waits for": (
        "before the confirm",
        [deliver(reply_to=""), publish(1, *RETRY), ack(), confirm()],
    ),
    "before the confirm of the dead letter": (
        "before the confirm",
        [deliver(reply_to=""), publish(1, *DEAD), ack(), confirm()],
    ),
    "a failure before the confirm of its letter": (
        "a failure is told before its letter",
        [deliver(), publish(1, *DEAD), failure(), confirm(2, multiple=True), ack()],
    ),
    "a failure whose letter came back": (
        "a failure is told before its letter",
        [deliver(), publish(1, *DEAD), returned(*DEAD), confirm(), failure(), confirm(2), ack()],
    ),
    "after the dead letter and before the confirm of the reply": (
        "before the confirm",
        [deliver(), publish(1, *DEAD), confirm(), publish(2), ack(), confirm(2)],
    ),
    "a confirm that was a nack": ("before the confirm", [deliver(), publish(1, *RETRY), refused(), ack()]),
    "a confirm after a return": (
        "before the confirm",
        [deliver(), publish(1, *RETRY), returned(*RETRY), confirm(), ack()],
    ),
    "a confirm of another task": (
        "before the confirm",
        [deliver(), deliver(2, OTHER), publish(1, task_id=OTHER), confirm(), ack(1)],
    ),
    "a confirm that the connection took with it": ("before the confirm", [deliver(), publish(), ended(1), ack()]),
    "the confirm of an earlier attempt": (
        "before the confirm",
        [deliver(), publish(1, *RETRY), confirm(), ack(), deliver(2), publish(2, *RETRY), ack(2)],
    ),
    "a reply to another address": (
        "before the confirm",
        [deliver(), publish(1, routing_key=DIRECT + "2"), confirm(), ack()],
    ),
    "a reply to the address that was asked from first, alone": (
        "before the confirm",
        [deliver(), deliver(2, reply_to=DIRECT + "2", resent=1), publish(), confirm(), ack(1), ack(2)],
    ),
    "the same, and that one arrived last": (
        "before the confirm",
        [deliver(reply_to=DIRECT + "2", resent=1), deliver(2), publish(), confirm(), ack(1), ack(2)],
    ),
    "first the ack, then the retry, no reply wanted": (
        "after its last delivery was acked",
        [deliver(reply_to=""), ack(), publish(1, *RETRY), confirm()],
    ),
    "all at once": (
        "before the confirm",
        [deliver(), deliver(2, OTHER), publish(), confirm(), ack(2, multiple=True)],
    ),
    "acked twice": ("a second time", [deliver(), publish(), confirm(), ack(), ack()]),
    "acked, then given back": ("a second time", [deliver(reply_to=""), ack(), event("reject", tag=1)]),
    "on another channel": ("did not deliver", [deliver(), publish(), confirm(), ack(channel=2)]),
    "with an old tag after a reconnect": (
        "did not deliver",
        [deliver(), publish(), confirm(), ended(0), *started(consume=2, publish=3)[:4], ack(1, connection=2)],
    ),
    "with an old tag that means another task now": (
        "before the confirm",
        [
            deliver(),
            publish(),
            confirm(),
            ended(0),
            *started(consume=2, publish=3)[:4],
            deliver(1, OTHER, connection=2),
            ack(1, connection=2),
        ],
    ),
    "a batch before anything": ("before the confirm", [batch(), ack()]),
    "a batch before the reply of one": ("before the confirm", [batch(), publish(), confirm(), ack()]),
    "a batch before the confirm of one": (
        "before the confirm",
        [batch(), publish(), publish(2, task_id=OTHER), confirm(), ack(), confirm(2)],
    ),
    "a batch, and of replies together one is missing": (
        "before the confirm",
        [batch(), together(1, ID), confirm(), ack()],
    ),
    "a batch before the confirm of replies together": (
        "before the confirm",
        [batch(), together(1, ID, OTHER), ack(), confirm()],
    ),
    "a batch before the confirm of a retry": (
        "before the confirm",
        [batch(), publish(), confirm(), publish(2, *RETRY, task_id=OTHER), ack(), confirm(2)],
    ),
    "a batch before the confirm of a retry, no reply wanted": (
        "before the confirm",
        [batch(reply_to=""), publish(1, *RETRY, task_id=OTHER), ack(), confirm()],
    ),
    "a batch that comes again before the confirm of all its copies": (
        "before the confirm",
        [
            batch(),
            ended(CONSUME),
            *started(consume=2, publish=3)[:4],
            batch(connection=2),
            publish(1, *RETRY),
            publish(2, *RETRY, task_id=OTHER),
            confirm(),
            ack(1, 2),
            confirm(2),
        ],
    ),
    "a batch, its replies to another address": (
        "before the confirm",
        [batch(), together(1, ID, OTHER, routing_key=DIRECT + "2"), confirm(), ack()],
    ),
    "a run that ends after its task was buried, which was never lost": (
        "after its last delivery was acked",
        [
            *(deliver(), publish(), confirm(), ack()),
            event("consume", queue="tasks.obituaries", name="second"),
            event("deliver", "broker", tag=2, name="second", id=ID, reply_to=DIRECT),
            *(failure(2), confirm(2), ack(2), publish(3), confirm(3)),
        ],
    ),
    "a batch, and replies after its ack": (
        "after its last delivery was acked",
        [batch(reply_to=""), ack(), together(1, ID, OTHER), confirm()],
    ),
    "more than the prefetch": ("3 unacked, prefetch 2", [deliver(1), deliver(2), deliver(3)]),
}


@pytest.mark.parametrize(("expected", "log"), DISHONEST.values(), ids=DISHONEST)
def test_a_dishonest_worker_is_found(expected: str, log: list[Event]) -> None:
    (violation, *further) = audit([*started(), *log])
    assert expected in violation
    assert further == []


def test_a_connection_that_cannot_be_read_is_no_honest_one() -> None:
    assert audit([event("garbage")]) == []
    assert len(audit([*started(), event("garbage", "broker", PUBLISH)])) == 1


def test_what_another_worker_has_confirmed_is_no_excuse() -> None:
    other = [
        event("hello", connection=9, name="worker-h-2 publish"),
        event("confirm_select", connection=9),
        event("publish", connection=9, tag=1, routing_key=DIRECT, id=ID),
        event("confirm", "broker", 9, tag=1),
    ]
    assert len(audit([*started(), deliver(), *other, ack()])) == 1


def test_a_prefetch_holds_for_each_consumer_by_itself() -> None:
    more = [
        event("qos", prefetch=1),
        event("consume", queue="queue_b", name="second"),
        deliver(1),
        deliver(2),
        event("deliver", "broker", tag=3, name="second", id=OTHER),
    ]
    assert audit([*started(), *more]) == []
    assert len(audit([*started(), *more, event("deliver", "broker", tag=4, name="second", id=OTHER)])) == 1
