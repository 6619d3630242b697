"""Streams that are odd in one way each, and the moments at which things are handed over."""

from __future__ import annotations

import asyncio
from itertools import combinations
from typing import Any

import pytest
from pika import frame, spec

from broker.amqp.pika_connection import PikaConnection
from tests.support.differential import ACKING, RAISE, Twin, compare, delivery, framed, frames_of, method


def test_a_delivery_is_handed_over_with_its_last_byte_and_not_before() -> None:
    for body in (b"", b"hello"):
        stream = delivery(1, body)

        async def run(stream: bytes = stream) -> list[int]:
            twin = Twin(PikaConnection)
            await twin.open()
            seen = []
            for place in range(len(stream)):
                await twin.read([stream[place : place + 1]])
                seen.append(len(twin.log))
            return seen

        assert asyncio.run(run()) == [0] * (len(stream) - 1) + [1]


@pytest.mark.parametrize(("one", "other"), [(b"one", b"two"), (b"", b"")])
def test_two_deliveries_of_one_size_may_be_woven_into_one_another_in_every_way(one: bytes, other: bytes) -> None:
    frames = len(frames_of(1, one))
    for places in combinations(range(2 * frames), frames):
        first, second = iter(frames_of(1, one)), iter(frames_of(2, other))
        woven = [next(first) if place in places else next(second) for place in range(2 * frames)]
        _, ours = compare([b"".join(woven)])
        assert len(ours.log) == 2
        compare(woven)


START, HEADER, BODY = frames_of(1, b"hello")
ODD = {
    "flags that go on": [START, framed(2, 1, HEADER[7:19] + b"\x80\x01\x00\x00\x01x"), BODY],
    "bytes behind the properties": [START, framed(2, 1, HEADER[7:-1] + b"more"), BODY],
    "bytes behind the routing key": [framed(1, 1, START[7:-1] + b"more"), HEADER, BODY],
    "a routing key that is cut": [framed(1, 1, START[7:-3]), HEADER, BODY],
    "a property that is cut": [START, framed(2, 1, HEADER[7:-3]), BODY],
    "a key that is not UTF-8": [START.replace(b"task_a", b"\xff\xfe\xfd\xfc\xfb\xfa"), HEADER, BODY],
    "a tag that is cut": [framed(1, 1, START[7:12]), HEADER, BODY],
    "no tag": [framed(1, 1, START[7:11]), HEADER, BODY],
    "another class": [START, framed(2, 1, b"\x00\x3d" + HEADER[9:-1]), BODY],
    "a header without flags": [START, framed(2, 1, HEADER[7:19]), BODY],
    "no end of the method": [START[:-1] + b"\x00", HEADER, BODY],
    "no end of the header": [START, HEADER[:-1] + b"\x00", BODY],
    "no end of the body": [START, HEADER, BODY[:-1] + b"\x00"],
    "a body that is too long": [START, HEADER, framed(3, 1, b"hello!")],
    "a body in parts": [START, HEADER, framed(3, 1, b"he"), framed(3, 1, b"llo")],
    "a message in the middle of another": [START, HEADER, framed(3, 1, b"he"), START, HEADER, BODY],
    "a method without its message": [START, START, HEADER, BODY],
    "a header too many": [HEADER, START, HEADER, BODY],
    "a body too many": [START, HEADER, BODY, BODY],
    "a message that another channel ends": [START, *frames_of(2, b"other"), HEADER, BODY],
    "a channel that is not open": frames_of(7, b"hello"),
    "a confirm with more in it": [framed(1, 1, method(1, spec.Basic.Ack(1, False))[7:-1] + b"x")],
    "a confirm that is cut": [framed(1, 1, method(1, spec.Basic.Ack(1, False))[7:-3])],
    "a confirm without its end": [method(1, spec.Basic.Ack(1, False))[:-1] + b"\x00"],
    "an unknown frame": [framed(4, 1, b"")],
    "another protocol": [b"AMQP\x00\x00\x09\x01"],
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_what_is_odd_is_taken_as_pika_takes_it(odd: list[bytes]) -> None:
    after = delivery(1, b"after") + frame.Heartbeat().marshal() + method(2, spec.Basic.Ack(2, True))
    compare([b"".join(odd) + after])
    compare([*odd, after])


@pytest.mark.parametrize(
    "between", [frame.Heartbeat().marshal(), method(2, spec.Basic.Ack(1, False)), delivery(2, b"other")]
)
def test_a_delivery_that_is_half_there_holds_up_nothing_that_comes_in_between(between: bytes) -> None:
    start = method(1, spec.Basic.Deliver(ACKING, 1, False, "tasks", "task_a"))
    pika, ours = compare([start + between])
    assert pika.connection.frames_received == ours.connection.frames_received


def test_what_a_consumer_raises_ends_the_connection_and_its_delivery_is_not_handed_over_again() -> None:
    _, ours = compare([delivery(1, RAISE) + delivery(1, b"after")])
    assert ours.is_ended
    assert len(ours.log) == 2


def test_deliveries_and_confirms_do_go_past_pika(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the comparison would compare pika with itself."""
    seen: list[Any] = []
    monkeypatch.setattr(PikaConnection, "_process_frame", lambda _self, value: seen.append(value))
    stream = delivery(1, b"") + delivery(2, b"hello") + method(1, spec.Basic.Ack(3, True))

    async def run() -> list[Any]:
        twin = Twin(PikaConnection)
        monkeypatch.undo()
        await twin.open()
        monkeypatch.setattr(PikaConnection, "_process_frame", lambda _self, value: seen.append(value))
        await twin.read([stream])
        return twin.log

    assert [entry[1] for entry in asyncio.run(run())] == ["delivery", "delivery", "confirm"]
    assert not seen
