"""In which order and in how many frames a channel says what it is told to say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from pika import frame, spec

import broker.amqp.channel
from broker.amqp.channel import ACK_WAIT_S, Channel
from broker.amqp.pika_connection import PikaConnection
from broker.errors import ConnectionLost
from protocol.properties import Properties
from tests.support.differential import ACKING, Twin, method
from tests.support.frames import Decoder, Event

#: Without room for acks that wait, and with.
ROOMS = (0, 10)


def said(
    act: Callable[[Twin, Channel], Awaitable[None] | None], deliveries: int = 5, room: int = 0
) -> list[tuple[str, int, bool]]:
    """Kind, tag and ``multiple`` of what a channel sends that has got deliveries 1, 2, 3 … and acts."""

    async def run() -> list[Event]:
        twin = Twin(PikaConnection, room)
        await twin.open()
        for tag in range(1, deliveries + 1):
            twin.feed(method(1, spec.Basic.Deliver(ACKING, tag, False, "tasks", "task_a")))
            twin.feed(frame.Header(1, 0, spec.BasicProperties()).marshal())
        acting = act(twin, twin.channels[1])
        if acting is not None:
            await acting
        await twin.settle()
        return heard(twin)

    return [(event.kind, event.tag, event.multiple) for event in asyncio.run(run())]


@pytest.fixture
def for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ack that waits does so for longer than any test."""
    monkeypatch.setattr(broker.amqp.channel, "ACK_WAIT_S", 60.0)


def heard(twin: Twin) -> list[Event]:
    """What the broker has been told so far."""
    return Decoder("client").feed(b"AMQP\x00\x00\x09\x01" + twin.written)


def publish(channel: Channel) -> None:
    channel.publish("", "reply", b"body", Properties(correlation_id="x"), mandatory=False)


def test_acks_of_a_turn_of_the_loop_are_one_frame_at_its_end() -> None:
    def act(_twin: Twin, channel: Channel) -> None:
        for tag in (2, 1, 3):
            assert channel.ack(tag)
            publish(channel)

    assert said(act) == [("publish", 0, False)] * 3 + [("ack", 3, True)]


def test_acks_of_two_turns_are_two_frames() -> None:
    async def act(twin: Twin, channel: Channel) -> None:
        for tag in (1, 2, 4):
            assert channel.ack(tag)
        await twin.settle()
        assert channel.ack(3)
        assert channel.ack(5)

    assert said(act) == [("ack", 2, True), ("ack", 4, False), ("ack", 5, True)]


@pytest.mark.usefixtures("for_long")
def test_acks_wait_for_each_other_where_there_is_room() -> None:
    async def act(twin: Twin, channel: Channel) -> None:
        for tag in (1, 2, 3):
            assert channel.ack(tag)
            await twin.settle()
        assert twin.written == b""
        publish(channel)

    assert said(act, deliveries=5, room=5) == [("publish", 0, False), ("ack", 3, True)]


def test_an_ack_waits_for_others_only_so_long() -> None:
    async def act(twin: Twin, channel: Channel) -> None:
        assert channel.ack(1)
        await asyncio.sleep(2 * ACK_WAIT_S)

    assert said(act, room=5) == [("ack", 1, False)]


@pytest.mark.usefixtures("for_long")
def test_acks_wait_only_while_what_is_held_leaves_room() -> None:
    async def act(twin: Twin, channel: Channel) -> None:
        for tag in (1, 2, 3):
            assert channel.ack(tag)
            await twin.settle()

    assert said(act, deliveries=4, room=2) == [("ack", 1, False), ("ack", 2, False)]


@pytest.mark.usefixtures("for_long")
def test_acks_that_wait_are_out_as_soon_as_there_is_little_room() -> None:
    async def act(twin: Twin, channel: Channel) -> None:
        assert channel.ack(1)
        await twin.settle()
        assert twin.written == b""
        for tag in (3, 4):
            twin.feed(method(1, spec.Basic.Deliver(ACKING, tag, False, "tasks", "task_a")))
            twin.feed(frame.Header(1, 0, spec.BasicProperties()).marshal())
        assert channel.ack(3)

    assert said(act, deliveries=2, room=3) == [("ack", 1, False), ("ack", 3, False)]


@pytest.mark.parametrize("room", ROOMS)
def test_an_ack_is_out_before_whatever_else_is_no_publish(room: int) -> None:
    async def give_back(_twin: Twin, channel: Channel) -> None:
        assert channel.ack(1)
        assert channel.ack(3)
        assert channel.nack(2)
        assert channel.ack(4)
        await asyncio.sleep(2 * ACK_WAIT_S)

    assert said(give_back, room=room) == [
        ("ack", 1, False),
        ("ack", 3, False),
        ("nack", 2, False),
        ("ack", 4, False),
    ]

    def cancel(_twin: Twin, channel: Channel) -> None:
        assert channel.ack(1)
        asyncio.ensure_future(channel.cancel(ACKING)).add_done_callback(lambda done: done.cancelled())

    assert said(cancel, room=room) == [("ack", 1, False), ("cancel", 0, False)]


@pytest.mark.parametrize("room", ROOMS)
def test_acks_are_out_before_their_channel_is_closed_by_us(room: int) -> None:
    async def act(_twin: Twin, channel: Channel) -> None:
        assert channel.ack(1)
        assert channel.ack(2)
        closing = asyncio.ensure_future(channel.close())
        await asyncio.sleep(0)
        assert not channel.ack(3)
        closing.cancel()

    kinds = said(act, room=room)
    assert kinds[0] == ("ack", 2, True)
    assert ("channel_close", 0, False) in kinds
    assert [kind for kind, _, _ in kinds].count("ack") == 1


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_is_said_on_a_channel_that_the_broker_has_closed_but_that_it_was_heard(room: int) -> None:
    def act(twin: Twin, channel: Channel) -> None:
        assert channel.ack(1)
        twin.feed(method(1, spec.Channel.Close(406, "PRECONDITION_FAILED", 60, 80)))
        assert not channel.ack(2)
        assert not channel.nack(1)

    async def last_bytes() -> bytes:
        twin = Twin(PikaConnection, room)
        await twin.open()
        act_on = twin.channels[1]
        twin.feed(
            method(1, spec.Basic.Deliver(ACKING, 1, False, "", ""))
            + frame.Header(1, 0, spec.BasicProperties()).marshal()
        )
        act(twin, act_on)
        await twin.settle()
        return twin.written

    assert asyncio.run(last_bytes()) == b"".join(
        (method(1, spec.Basic.Ack(1, False)), method(1, spec.Channel.CloseOk()))
    )


def test_what_was_acked_before_a_channel_was_given_up_is_said_and_nothing_after() -> None:
    def act(_twin: Twin, channel: Channel) -> None:
        assert channel.ack(1)
        channel.end(ConnectionLost("the mailbox was deleted"))
        assert not channel.nack(1)
        assert not channel.ack(2)

    assert said(act) == [("ack", 1, False)]


def test_a_tag_that_is_acked_twice_is_for_the_broker_to_judge() -> None:
    def act(_twin: Twin, channel: Channel) -> None:
        assert channel.ack(1)
        assert channel.ack(1)
        assert channel.ack(99)

    assert said(act) == [("ack", 1, False), ("ack", 1, False), ("ack", 99, False)]


def test_acks_of_two_channels_keep_apart() -> None:
    def act(twin: Twin, channel: Channel) -> None:
        twin.feed(
            method(2, spec.Basic.Deliver(ACKING, 1, False, "", ""))
            + frame.Header(2, 0, spec.BasicProperties()).marshal()
        )
        assert twin.channels[2].ack(1)
        assert channel.ack(1)
        assert channel.ack(2)

    assert sorted(said(act)) == [("ack", 1, False), ("ack", 2, True)]
