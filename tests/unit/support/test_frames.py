"""The frame decoder of the proxy: what pika writes is read, and no bytes can make it fail."""

from __future__ import annotations

import random
import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec
from pika.spec import BasicProperties

from tests.support.frames import By, Decoder, Event
from tests.support.hostile import RawTable, header_timestamp, nested_tables


def method(what: Any, channel: int = 1) -> bytes:
    return bytes(frame.Method(channel, what).marshal())


def content(what: Any, properties: Any, body: bytes = b"", channel: int = 1) -> bytes:
    frames = [frame.Method(channel, what), frame.Header(channel, len(body), properties)]
    frames += [frame.Body(channel, body)] if body else []
    return b"".join(bytes(one.marshal()) for one in frames)


def read(by: By, *data: bytes) -> list[Event]:
    decoder = Decoder(by)
    return [event for piece in data for event in decoder.feed(piece)]


PROTOCOL = b"AMQP\x00\x00\x09\x01"
PROPERTIES = BasicProperties(message_id="m", correlation_id="c", reply_to="r", type="note", headers={"v": 1})


def conversation() -> bytes:
    """Of a client, with everything that is read of one."""
    return b"".join(
        (
            PROTOCOL,
            method(
                spec.Connection.StartOk({"connection_name": "worker-1 publish", "product": "x"}, response=""), 0
            ),
            method(spec.Channel.Open()),
            method(spec.Confirm.Select()),
            method(spec.Basic.Qos(prefetch_count=4)),
            method(spec.Basic.Consume(queue="queue_a", consumer_tag="tag", no_ack=True)),
            content(
                spec.Basic.Publish(exchange="tasks", routing_key="note", mandatory=True), PROPERTIES, b"\xce" * 99
            ),
            bytes(frame.Heartbeat().marshal()),
            content(spec.Basic.Publish(exchange="", routing_key="r"), BasicProperties(correlation_id="c")),
            method(spec.Basic.Ack(delivery_tag=7)),
            method(spec.Basic.Nack(delivery_tag=8, requeue=True)),
            method(spec.Basic.Reject(delivery_tag=9, requeue=False)),
            method(spec.Basic.Cancel(consumer_tag="tag")),
            method(spec.Channel.Close(200, "bye", 0, 0)),
            method(spec.Connection.Close(200, "bye", 0, 0), 0),
        )
    )


SAID = [
    Event(kind="hello", by="client", name="worker-1 publish"),
    Event(kind="channel_open", by="client", channel=1),
    Event(kind="confirm_select", by="client", channel=1),
    Event(kind="qos", by="client", channel=1, prefetch=4),
    Event(kind="consume", by="client", channel=1, queue="queue_a", name="tag", no_ack=True),
    Event(
        kind="publish",
        by="client",
        channel=1,
        tag=1,
        exchange="tasks",
        routing_key="note",
        mandatory=True,
        id="m",
        reply_to="r",
        type="note",
    ),
    Event(kind="publish", by="client", channel=1, tag=2, routing_key="r", id="c"),
    Event(kind="ack", by="client", channel=1, tag=7),
    Event(kind="nack", by="client", channel=1, tag=8, requeue=True),
    Event(kind="reject", by="client", channel=1, tag=9),
    Event(kind="cancel", by="client", channel=1, name="tag"),
    Event(kind="channel_close", by="client", channel=1, code=200),
    Event(kind="close", by="client", code=200),
]


def test_what_a_client_says_is_read() -> None:
    assert read("client", conversation()) == SAID


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_bytes_may_be_cut_anywhere(size: int) -> None:
    data = conversation()
    assert read("client", *(data[at : at + size] for at in range(0, len(data), size))) == SAID


def test_what_a_broker_says_is_read() -> None:
    deliver = spec.Basic.Deliver("tag", 3, redelivered=True, exchange="tasks", routing_key="note")
    events = read(
        "broker",
        method(spec.Basic.Ack(delivery_tag=5, multiple=True)),
        method(spec.Basic.Nack(delivery_tag=6)),
        content(spec.Basic.Return(312, "NO_ROUTE", "tasks", "note"), PROPERTIES, b"x"),
        content(deliver, PROPERTIES, b"body"),
        method(spec.Basic.Cancel("tag")),
        method(spec.Connection.Blocked("memory"), 0),
        method(spec.Connection.Close(320, "bye", 0, 0), 0),
    )
    assert [(event.kind, event.tag, event.multiple, event.redelivered) for event in events] == [
        ("confirm", 5, True, False),
        ("refuse", 6, False, False),
        ("return", 0, False, False),
        ("deliver", 3, False, True),
        ("cancel", 0, False, False),
        ("blocked", 0, False, False),
        ("close", 0, False, False),
    ]
    assert events[-1].code == 320
    assert (events[3].id, events[3].reply_to, events[3].type, events[3].name) == ("m", "r", "note", "tag")


def test_sequence_numbers_start_with_confirm_mode_and_again_with_a_new_channel() -> None:
    publish = content(spec.Basic.Publish(), BasicProperties())
    opened, confirmed = method(spec.Channel.Open()), method(spec.Confirm.Select())
    events = read("client", PROTOCOL, opened, publish, confirmed, publish, publish, opened, confirmed, publish)
    assert [event.tag for event in events if event.kind == "publish"] == [0, 1, 2, 1]


@pytest.mark.parametrize("headers", [{}, {"resent": 3}, {"v": 1, "resent": 300_000}, {"resent": 2**40}])
def test_how_often_a_task_was_asked_for_again_is_read_off_its_headers(headers: dict[str, int]) -> None:
    (event,) = read(
        "broker", content(spec.Basic.Deliver("tag", 1, False, "tasks", "note"), BasicProperties(headers=headers))
    )
    assert event.resent == headers.get("resent", 0)


ENTRIES = [["a" * 32, {"n": 1}], ["b" * 32, {"payload": "x" * 99}]]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_the_ids_of_a_batch_are_read_off_its_body(size: int) -> None:
    body, headers = msgpack.packb(ENTRIES), {"v": 1, "batch": 2}
    deliver = frame.Method(1, spec.Basic.Deliver("tag", 1, False, "tasks", "note")).marshal()
    header = frame.Header(1, len(body), BasicProperties(message_id="m", type="note", headers=headers)).marshal()
    parts = [frame.Body(1, body[at : at + 50]).marshal() for at in range(0, len(body), 50)]
    data = b"".join((deliver, header, *parts)) + method(spec.Basic.Ack(delivery_tag=5))
    first, second = read("broker", *(data[at : at + size] for at in range(0, len(data), size)))
    assert (first.kind, first.id, first.ids) == ("deliver", "m", ("a" * 32, "b" * 32))
    assert second.kind == "confirm"


def test_the_ids_of_many_replies_are_read_off_their_body() -> None:
    body = msgpack.packb([{"id": "a", "result": 1}, {"id": "b", "error": {}}])
    publish = content(spec.Basic.Publish(), BasicProperties(correlation_id="m", type="batch"), body)
    (event,) = read("client", PROTOCOL, publish)
    assert (event.id, event.ids) == ("m", ("a", "b"))


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x01", b"\x93\x01\x02\x03", b"\x91\x90", b"\x91\x91\x01", b"\x81\xa1ab", b"\xdd\xff"]
)
def test_a_batch_that_cannot_be_read_is_one_message_without_ids(body: bytes) -> None:
    deliver = content(
        spec.Basic.Deliver("t", 1, False, "tasks", "note"),
        BasicProperties(message_id="m", headers={"batch": 3}),
        body,
    )
    (event,) = read("broker", deliver)
    assert (event.id, event.ids) == ("m", ())


def test_a_message_that_its_channel_cut_short_never_was() -> None:
    whole = content(
        spec.Basic.Deliver("t", 1, False, "tasks", "note"), BasicProperties(headers={"batch": 1}), b"\x90"
    )
    (event,) = read("broker", whole[:-9], method(spec.Channel.Close(406, "no", 0, 0)))
    assert event.kind == "channel_close"


@pytest.mark.parametrize("table", [nested_tables(1500), header_timestamp(2**62)], ids=["nested", "timestamp"])
def test_properties_that_pika_cannot_decode_still_name_their_message(table: bytes) -> None:
    hostile = RawTable(table, message_id="m", reply_to="r", type="note", priority=3, timestamp=4)
    (event,) = read("broker", content(spec.Basic.Deliver("tag", 1, False, "tasks", "note"), hostile))
    assert (event.id, event.reply_to, event.type) == ("m", "r", "note")


def test_a_table_longer_than_its_header_hides_only_what_follows_it() -> None:
    header = struct.pack(">HHQH", 60, 0, 0, 0xA080) + b"\x01x" + b"\xff\xff\xff\xff" + b"\x01m"
    data = b"\x02\x00\x01" + struct.pack(">L", len(header)) + header + b"\xce"
    delivery = method(spec.Basic.Deliver("tag", 1, False, "tasks", "note"))
    event, after = read("broker", delivery, data, method(spec.Basic.Ack(1)))
    assert (event.kind, event.id, after.kind) == ("deliver", "", "confirm")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        PROTOCOL + b"\x09\x00\x00\x00\x00\x00\x00\xce",
        PROTOCOL + b"\x01\x00\x00\xff\xff\xff\xff",
        PROTOCOL + b"\x01\x00\x01\x00\x00\x00\x02\x00\x3c\xce",
        PROTOCOL + b"\x03\x00\x01\x00\x00\x00\x01xx",
        PROTOCOL + method(spec.Basic.Ack(1))[:-1] + b"\x00",
        PROTOCOL + bytes(frame.Header(1, 0, BasicProperties()).marshal()),
    ],
    ids=["http", "frame type", "4 GB frame", "half a method", "body end", "method end", "header alone"],
)
def test_what_is_no_amqp_becomes_one_event_and_ends_the_reading(data: bytes) -> None:
    decoder = Decoder("client")
    assert [event.kind for event in decoder.feed(data + conversation())] == ["garbage"]
    assert decoder.feed(conversation()) == []


@given(st.binary(max_size=300), st.integers(0, 400))
def test_no_bytes_make_it_fail(noise: bytes, at: int) -> None:
    data = conversation()
    for whole in (noise, data[:at] + noise + data[at:], data[:at] + noise + data[at + len(noise) :]):
        Decoder("client").feed(whole)
        Decoder("broker").feed(whole)


def test_no_flipped_bit_makes_it_fail() -> None:
    data, chance = conversation(), random.Random(1)
    for _ in range(3000):
        flipped = bytearray(data)
        flipped[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        Decoder("client").feed(bytes(flipped))
