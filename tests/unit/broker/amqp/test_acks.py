"""Acks in few frames, before a broker that knows what is outstanding and closes the channel over anything else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec

from broker.amqp.acks import Acks, Held


class Broker:
    """One channel as RabbitMQ keeps it (https://www.rabbitmq.com/docs/confirms#acknowledgement-modes)."""

    def __init__(self) -> None:
        self.outstanding: list[int] = []

    def ack(self, frames: list[bytes]) -> None:
        for raw in frames:
            consumed, decoded = frame.decode_frame(raw)
            assert consumed == len(raw)
            assert isinstance(decoded, frame.Method)
            ack = decoded.method
            assert isinstance(ack, spec.Basic.Ack)
            assert ack.delivery_tag in self.outstanding, "406 unknown delivery tag"
            kept = [tag for tag in self.outstanding if tag > ack.delivery_tag] if ack.multiple else None
            self.outstanding.remove(ack.delivery_tag)
            self.outstanding = self.outstanding if kept is None else kept


def read(frames: list[bytes]) -> list[tuple[int, bool]]:
    acks = [frame.decode_frame(raw)[1].method for raw in frames]
    return [(ack.delivery_tag, ack.multiple) for ack in acks]


def delivered(*tags: int) -> Acks:
    unsettled, consumer = Acks(), Held()
    for tag in tags:
        unsettled.add(tag, consumer)
    return unsettled


@given(st.data())
def test_a_broker_ends_up_with_what_was_not_settled_and_never_complains(data: st.DataObject) -> None:
    broker, unsettled, held, last = Broker(), Acks(), set[int](), 0
    consumers = Held(), Held()
    for step in data.draw(st.lists(st.sampled_from(["deliver", "deliver", "ack", "nack", "write"]), max_size=60)):
        if step == "deliver":
            # Tags that are left out went to a consumer that does not ack.
            last += data.draw(st.integers(1, 3))
            broker.outstanding.append(last)
            unsettled.add(last, consumers[last % 2])
            held.add(last)
        elif step == "write":
            broker.ack(unsettled.frames(1))
            assert set(broker.outstanding) == held
        elif held:
            tag = data.draw(st.sampled_from(sorted(held)))
            held.remove(tag)
            if step == "ack":
                assert unsettled.ack(tag)
            else:
                # What is no ack is written behind the acks that were collected.
                broker.ack(unsettled.frames(1))
                unsettled.remove(tag)
                broker.outstanding.remove(tag)
        assert [one.count for one in consumers] == [sum(tag % 2 == odd for tag in held) for odd in (0, 1)]
    broker.ack(unsettled.frames(1))
    assert set(broker.outstanding) == held


def test_what_was_acked_without_a_gap_is_one_frame() -> None:
    unsettled = delivered(1, 2, 3, 4, 5)
    for tag in (3, 1, 2):
        assert unsettled.ack(tag)
    assert read(unsettled.frames(1)) == [(3, True)]
    for tag in (5, 4):
        assert unsettled.ack(tag)
    assert read(unsettled.frames(1)) == [(5, True)]


def test_beyond_a_gap_acks_are_single() -> None:
    unsettled = delivered(1, 2, 3, 4, 5)
    for tag in (4, 2, 1, 5):
        assert unsettled.ack(tag)
    assert read(unsettled.frames(1)) == [(2, True), (4, False), (5, False)]
    assert unsettled.ack(3)
    assert read(unsettled.frames(1)) == [(3, False)]


def test_tags_that_are_no_longer_outstanding_leave_no_gap() -> None:
    unsettled = delivered(1, 2, 5, 9)
    unsettled.remove(2)
    for tag in (1, 5):
        assert unsettled.ack(tag)
    assert read(unsettled.frames(1)) == [(5, True)]


def test_an_ack_of_what_is_not_outstanding_is_not_collected() -> None:
    unsettled = delivered(1, 2)
    assert not unsettled.ack(3)
    assert unsettled.ack(2)
    assert not unsettled.ack(2)
    assert read(unsettled.frames(1)) == [(2, False)]
    assert not unsettled.ack(2)
    assert unsettled.frames(1) == []
