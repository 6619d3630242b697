"""What workers report, to the steps of a life."""

from __future__ import annotations

import pytest

from broker.watch.life import Lives, Source
from broker.watch.text import line, to_mermaid
from protocol.delay import enter, levels_of
from protocol.names import new_id
from protocol.watching import Event, What

ID = new_id()
CAME = {"task": "echo", "queue": "queue_a", "exchange": "tasks", "key": "echo", "tag": 1, "attempt": 1}


def event(what: What, **facts: object) -> Event:
    given: dict[str, object] = {"number": 1, "worker": "w:1", "at": 1_000_000, "ids": (ID,), **facts}
    return Event(what=what, **given)  # type: ignore[arg-type]


def texts(*events: Event) -> list[str]:
    lives = Lives()
    return [f"{step.name}: {step.text}" for one in events for step in lives.fold(one)]


def test_who_had_a_redelivered_message_is_unknown_unless_it_was_watched() -> None:
    again = event(What.DELIVERED, **{**CAME, "worker": "w:2", "redelivered": 1})
    assert texts(again) == ["delivered: tag 1, attempt 1, redelivered: unknown had it before"]
    assert texts(event(What.HELD, **CAME), again)[-1].endswith("redelivered: w:1 had it before")


def test_a_replayed_task_was_published_by_an_operator() -> None:
    [published, *_] = Lives().fold(event(What.DELIVERED, **CAME, replay=1, sent_at=5, replayed_at=999_000))
    assert (published.start, published.at) == ("operator", 999_000)


def test_a_task_that_was_sent_with_a_delay_waited_in_its_levels() -> None:
    hop = enter(0.5, "echo")
    came = event(What.DELIVERED, **{**CAME, "exchange": "tasks.due", "key": hop.routing_key, "sent_at": 999_400})
    assert texts(came)[0] == (
        "published: key echo, due in 0.5 s (0.4 s in tasks.delay.02 + 0.1 s in tasks.delay.00)"
    )
    assert texts(came)[3] == "waited: 0.100 s"


@pytest.mark.parametrize(("key", "levels"), [("echo", []), (enter(0.5, "a.b").routing_key, [2, 0]), ("0.1", [])])
def test_the_levels_of_a_key(key: str, levels: list[int]) -> None:
    assert levels_of(key) == levels


def test_a_message_is_over_with_its_ack_unless_a_copy_waits() -> None:
    lives = Lives()
    hop = enter(0.5, "echo")
    for one, is_over in (
        (event(What.DELIVERED, **CAME), False),
        (event(What.PUBLISHED, exchange=hop.exchange, key=hop.routing_key, attempt=2), False),
        (event(What.ACKED, tag=1), False),
        (event(What.DELIVERED, **{**CAME, "attempt": 2}), False),
        (event(What.ACKED, tag=1), True),
    ):
        lives.fold(one)
        assert (lives.over == {ID}) is is_over


def test_a_text_from_outside_moves_no_cursor_and_draws_nothing() -> None:
    lives = Lives()
    [step] = lives.fold(event(What.PUBLISHED, code="E\x1b[2J\n", text="a;b\n->>p0: x"))
    assert "\n" not in line(step)
    assert "\x1b" not in line(step)
    assert len(to_mermaid([step]).splitlines()) == 4
    assert "a;b" not in to_mermaid([step])
    assert step.source is Source.WORKER
