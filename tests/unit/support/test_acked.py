"""What the tests count as acked, when one frame acks many."""

from __future__ import annotations

from tests.chaos.reading import Held
from tests.support.acked import acked
from tests.support.frames import Event


def log() -> list[Event]:
    delivered = [
        Event(kind="deliver", by="broker", connection=1, channel=channel, tag=tag, name="w", id=f"{channel}.{tag}")
        for channel in (1, 2)
        for tag in (1, 2, 3, 4)
    ]
    return [
        *delivered,
        Event(kind="nack", by="client", connection=1, channel=1, tag=2),
        Event(kind="ack", by="client", connection=1, channel=1, tag=3, multiple=True),
        Event(kind="ack", by="client", connection=1, channel=2, tag=4),
        Event(kind="ack", by="client", connection=1, channel=2, tag=4),
    ]


def test_an_ack_settles_all_that_it_covers_and_nothing_twice() -> None:
    assert [one.id for one in acked(log())] == ["1.1", "1.3", "2.4"]


def test_what_a_multiple_ack_covers_is_no_longer_held() -> None:
    held = Held()
    for event in log():
        held.take(event)
    assert (held.now, held.most[""]) == (4, 8)
