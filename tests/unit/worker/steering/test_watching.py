"""What a worker reports, to whom, and when it stops."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from broker.amqp.publisher import Message
from broker.errors import ConfirmLost, PublishError
from protocol.control import Watch
from protocol.limits import DEFAULT_LIMITS
from protocol.names import new_id
from protocol.reply import Run, pack_done
from protocol.task import Task
from protocol.watching import Event, What
from tests.support.waiting import run
from worker.intake.batch import Batch, keys_of
from worker.intake.delivery import Delivery
from worker.steering.watching import MOST, Watching, over_at

NOW_MS = 10**12


@dataclass
class Heard:
    """All that was reported, by the address that it went to."""

    by: dict[str, list[Event]] = field(default_factory=dict)

    def send(self, _record: Watch, reply_to: str, event: Event) -> None:
        self.by.setdefault(reply_to, []).append(event)

    def whats(self, reply_to: str) -> list[What]:
        return [event.what for event in self.by[reply_to]]


class Open:
    """A channel that settles."""

    is_open = True

    def ack(self, _tag: int) -> bool:
        return True

    def nack(self, _tag: int) -> bool:
        return True


def on_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    return lambda: run(test())


def watch(*ids: str, task: str = "", more: int = 0, for_ms: int = 10**12) -> Watch:
    at = NOW_MS
    return Watch(id=new_id(), by="t", at=at, written=at, ids=ids, task=task, next=more, until=at + for_ms)


def delivered(name: str = "echo") -> Batch:
    task = Task(id=new_id(), name=name, body=b"\x80")
    properties = SimpleNamespace(type=name, message_id=task.id, headers={"v": 1, "sent_at": 5})
    delivery = Delivery(
        channel=Open(),
        tag=7,
        queue="queue_a",
        exchange="tasks",
        routing_key=name,
        redelivered=False,
        properties=properties,
        body=b"\x80",
    )
    return Batch(delivery, task, (task.id,), keys_of(task), (task.body,), 1)


def made() -> tuple[Watching, Heard]:
    heard = Heard()
    return Watching("w:1", DEFAULT_LIMITS, list, heard.send), heard


@on_loop
async def test_only_what_is_watched_is_reported_and_each_report_is_numbered() -> None:
    watching, heard = made()
    wanted, other = delivered(), delivered()
    watching.attach(watch(*wanted.ids), "a", [])
    for batch in (other, wanted):
        watching.takes(batch, is_known=False)
        batch.delivery.ack()
    assert heard.whats("a") == [What.WATCHES, What.DELIVERED, What.ACKED]
    assert [event.number for event in heard.by["a"]] == [1, 2, 3]
    assert {event.ids for event in heard.by["a"][1:]} == {(*wanted.ids,)}


@on_loop
async def test_as_many_come_next_as_were_asked_for_and_of_that_name() -> None:
    watching, heard = made()
    watching.attach(watch(task="echo", more=2), "a", [])
    for name in ("note", "echo", "echo", "echo"):
        watching.takes(delivered(name), is_known=False)
    assert heard.whats("a").count(What.DELIVERED) == 2


@on_loop
async def test_what_is_here_already_is_told_at_once_and_once() -> None:
    watching, heard = made()
    here = delivered()
    watching.attach(watch(more=1), "a", [here])
    assert heard.whats("a") == [What.WATCHES]
    for _ in range(2):
        watching.attach(watch(*here.ids), "a", [here])
    here.delivery.nack()
    assert heard.whats("a") == [What.WATCHES, What.HELD, What.GIVEN_BACK]


@on_loop
async def test_the_end_of_a_publish_reaches_who_waits_for_it() -> None:
    watching, heard = made()
    batch = delivered()
    watching.attach(watch(*batch.ids), "a", [])
    reply = pack_done(batch.ids[0], b"\x01", Run(attempts=1, worker="w:1", ran_ms=3))
    message = Message(exchange="", routing_key="x", body=reply.body, properties=reply.properties)
    ends: list[PublishError | None] = []
    for problem in (ConfirmLost("gone"), None):
        watching.sees(message, ends.append)(problem)
    assert [str(end) for end in ends] == ["gone", "None"]
    assert heard.whats("a")[1:] == [What.PUBLISHED, What.UNCONFIRMED, What.PUBLISHED, What.CONFIRMED]
    assert {event.key for event in heard.by["a"]} == {""}
    other = pack_done(new_id(), b"\x01", Run(attempts=1, worker="w:1"))
    unseen = Message(exchange="", routing_key="x", body=other.body, properties=other.properties)
    on_end = ends.append
    assert watching.sees(unseen, on_end) == on_end


@on_loop
async def test_no_more_than_so_many_watch_and_the_next_one_is_told() -> None:
    watching, heard = made()
    batch = delivered()
    for number in range(MOST + 1):
        watching.attach(watch(*batch.ids), str(number), [])
    watching.takes(batch, is_known=False)
    assert heard.whats(str(MOST - 1)) == [What.WATCHES, What.DELIVERED]
    assert [event.text for event in heard.by[str(MOST)]] == ["8 others watch already"]


@on_loop
async def test_a_watch_ends_with_its_time_and_after_an_hour_at_the_latest() -> None:
    watching, _heard = made()
    watching.attach(watch(new_id(), for_ms=1), "a", [])
    assert watching.ends()
    assert over_at(watch(new_id(), for_ms=10**12)) == NOW_MS + 3600 * 1000
