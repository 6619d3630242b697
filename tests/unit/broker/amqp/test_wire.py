from __future__ import annotations

import hashlib
import inspect
import struct
from collections.abc import Callable, Mapping
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import data, frame, spec
from pika.adapters.base_connection import BaseConnection
from pika.channel import Channel, ContentFrameAssembler
from pika.connection import Connection
from pika.exceptions import AMQPError

from broker.amqp.pika_connection import BrokenProperties
from broker.amqp.pika_connection import read_frame as read

ID = "0f8fad5bd9cb469fa16570867728950e"
FLAGS = {
    "content_type": 15,
    "content_encoding": 14,
    "headers": 13,
    "delivery_mode": 12,
    "priority": 11,
    "correlation_id": 10,
    "reply_to": 9,
    "expiration": 8,
    "message_id": 7,
    "timestamp": 6,
    "type": 5,
    "user_id": 4,
    "app_id": 3,
}


def framed(payload: bytes, kind: int = spec.FRAME_HEADER, channel: int = 1) -> bytes:
    return struct.pack(">BHL", kind, channel, len(payload)) + payload + b"\xce"


def short(text: str | bytes) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode()
    return bytes((len(raw),)) + raw


def header_payload(table: bytes | None, properties: Mapping[str, bytes], body_size: int = 5) -> bytes:
    """A content header with a field table and other properties as they stand on the wire."""
    present = dict(properties)
    if table is not None:
        present["headers"] = struct.pack(">I", len(table)) + table
    flags = sum(1 << FLAGS[name] for name in present)
    values = b"".join(present[name] for name in FLAGS if name in present)
    return struct.pack(">HHQH", 60, 0, body_size, flags) + values


SOUND = {
    "content_type": short("application/msgpack"),
    "delivery_mode": b"\x02",
    "priority": b"\x00",
    "correlation_id": short(ID),
    "reply_to": short("mailbox.results"),
    "message_id": short(ID),
    "timestamp": bytes(8),
    "type": short("task_a"),
}


def readable(table: bytes) -> bytes:
    """A header frame with that table among properties that are sound."""
    return framed(header_payload(table, SOUND))


def nested(kind: bytes, levels: int) -> bytes:
    """Tables or arrays within one another, as the value of the field ``x``."""
    inner = b""
    for _ in range(levels):
        inner = (short("x") if kind == b"F" else b"") + kind + struct.pack(">I", len(inner)) + inner
    return inner if kind == b"F" else short("x") + inner


HOSTILE = {
    "a timestamp of 2^62": short("x") + b"T" + struct.pack(">Q", 2**62),
    "a timestamp of 2^64 - 1": short("x") + b"T" + b"\xff" * 8,
    "1,500 nested tables": nested(b"F", 1500),
    "1,500 nested arrays": nested(b"A", 1500),
    "a field of an unknown type": short("x") + b"Z\x00",
    "a field without a type": short("x"),
    "an integer cut short": short("x") + b"l\x00",
    "an array of 4 GiB": short("x") + b"A\xff\xff\xff\xff\x00",
    "a table of 4 GiB": short("x") + b"F\xff\xff\xff\xff\x00",
    "not a number": short("x") + b"d" + struct.pack(">d", float("nan")),
    "infinity": short("x") + b"f" + struct.pack(">f", float("inf")),
}


@pytest.mark.parametrize(
    ("relied_on", "digest"),
    [
        (Connection._output_marshaled_frames, "856452592c11b774"),
        (Connection._read_frame, "6195b377e621f28d"),
        (Connection._on_data_available, "4745dcc9c29e66ea"),
        (Connection._trim_frame_buffer, "13f296ffa75899aa"),
        (Connection._process_frame, "eabaea15bfa60b8a"),
        (Connection._process_callbacks, "ab2d39c4ba4f0c44"),
        (Connection._deliver_frame_to_channel, "752e7d482f0203fe"),
        (Connection._send_message, "306f311f51ed4e53"),
        (Channel._handle_content_frame, "8d84826688498a60"),
        (Channel._on_deliver, "7d70f97a641d8e0d"),
        (Channel._on_cancel, "7e6d7eb83d5bdf4b"),
        (Channel.basic_cancel, "7bf5addd4b582849"),
        (Channel.close, "fc440a5ea095fa47"),
        (Channel.basic_publish, "9b74f3d6fd59e11a"),
        (Channel.basic_ack, "6e1aa01ee07f8b03"),
        (Channel.confirm_delivery, "50e219d40306ce02"),
        (ContentFrameAssembler, "a62491ab3c622f5e"),
        (BaseConnection._adapter_emit_data, "57770a1b8a02455e"),
        (frame.decode_frame, "fa2babce68b266a0"),
        (spec.BasicProperties.__init__, "4e8f269241d17afd"),
        (spec.BasicProperties.decode, "37d8cba32446445e"),
        (spec.BasicProperties.encode, "262d9c2dfd91e9dd"),
        (spec.Basic.Deliver, "d298d75507c5cbf4"),
        (spec.Basic.Publish, "5fbd9a067307c7f0"),
        (spec.Basic.Ack, "445eca2118e15cc6"),
        (spec.Basic.Nack, "e513cb729f75a7c2"),
        (data.encode_table, "68c28d1642c302c3"),
        (data.encode_value, "b747d5f3f1b0fcbb"),
        (data.decode_table, "172ca4b90b6741ef"),
        (data.decode_value, "22d39a2229e73ec6"),
        (data.decode_short_string, "3da0b23c58f307ff"),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_what_is_overridden_or_relied_on_in_pika_is_as_it_was_when_it_was_read(
    relied_on: Callable[..., Any], digest: str
) -> None:
    """If this fails, pika changed: read the function again, compare it with wire.py, channel.py, decoding.py and
    encoding.py in broker/, then update."""
    assert hashlib.sha256(inspect.getsource(relied_on).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("table", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_table_that_pika_cannot_decode_arrives_as_broken_properties(table: bytes) -> None:
    received = readable(table)
    consumed, header = read(received)
    assert consumed == len(received)
    assert isinstance(header, frame.Header)
    assert isinstance(header.properties, BrokenProperties)
    assert header.body_size == 5
    assert header.channel_number == 1
    assert header.properties.headers is None


@pytest.mark.parametrize("table", HOSTILE.values(), ids=HOSTILE.keys())
def test_the_requester_can_be_read_beside_a_broken_table(table: bytes) -> None:
    _, header = read(readable(table))
    properties = header.properties
    assert properties.message_id == properties.correlation_id == ID
    assert properties.reply_to == "mailbox.results"
    assert properties.type == "task_a"
    assert properties.content_type == "application/msgpack"


@pytest.mark.parametrize("table", HOSTILE.values(), ids=HOSTILE.keys())
def test_every_hostile_table_does_make_pika_itself_raise(table: bytes) -> None:
    with pytest.raises((AMQPError, ValueError, OverflowError, RecursionError, struct.error, OSError)):
        frame.decode_frame(readable(table))


@pytest.mark.parametrize("name", ["message_id", "correlation_id", "reply_to", "type", "content_type"])
def test_a_short_string_that_is_not_utf8_arrives_as_bytes(name: str) -> None:
    _, header = read(framed(header_payload(None, {name: short(b"\xff\xfe")})))
    assert not isinstance(header.properties, BrokenProperties)
    assert getattr(header.properties, name) == b"\xff\xfe"


def test_beside_a_broken_table_bytes_that_are_not_utf8_are_replaced() -> None:
    table = HOSTILE["a timestamp of 2^62"]
    _, header = read(framed(header_payload(table, {"message_id": short(b"\xff"), "type": short("task_a")})))
    assert header.properties.message_id == "\ufffd"
    assert header.properties.type == "task_a"


def test_a_key_or_value_that_is_not_utf8_is_no_reason_to_break() -> None:
    table = short(b"\xff") + b"S" + struct.pack(">I", 1) + b"\xfe"
    _, header = read(readable(table))
    assert header.properties.headers == {b"\xff": b"\xfe"}


def test_the_timestamp_property_is_a_number_however_large() -> None:
    _, header = read(framed(header_payload(None, {"timestamp": struct.pack(">Q", 2**62)})))
    assert header.properties.timestamp == 2**62


def test_sound_properties_are_pika_s_own() -> None:
    properties = pika.BasicProperties(message_id=ID, type="task_a", headers={"v": 1}, timestamp=7)
    _, header = read(frame.Header(3, 9, properties).marshal())
    assert type(header.properties) is pika.BasicProperties
    assert header.properties == properties
    assert (header.channel_number, header.body_size) == (3, 9)


def test_the_frames_after_a_broken_header_are_read_as_if_nothing_had_been() -> None:
    deliver = frame.Method(1, spec.Basic.Deliver("tag", 1, False, "tasks", "task_a")).marshal()
    body = frame.Body(1, b"hello").marshal()
    received = (deliver + readable(HOSTILE["1,500 nested tables"]) + body) * 3
    kinds = []
    while received:
        consumed, value = read(received)
        received = received[consumed:]
        kinds.append(type(value))
    assert kinds == [frame.Method, frame.Header, frame.Body] * 3


def test_a_frame_that_has_not_arrived_as_a_whole_is_waited_for() -> None:
    received = readable(HOSTILE["a timestamp of 2^62"])
    for size in range(len(received)):
        assert read(received[:size]) == (0, None)


@pytest.mark.parametrize("kind", [spec.FRAME_METHOD, spec.FRAME_HEADER, spec.FRAME_BODY])
def test_a_frame_without_its_end_marker_still_ends_the_connection(kind: int) -> None:
    """The stream is out of step then, and nothing that follows can be trusted."""
    received = framed(header_payload(b"", {}), kind)[:-1] + b"\x00"
    with pytest.raises(AMQPError):
        read(received)


def test_what_cannot_be_decoded_in_a_method_still_ends_the_connection() -> None:
    with pytest.raises((AMQPError, LookupError, struct.error)):
        read(framed(b"\xff\xff\xff\xff", spec.FRAME_METHOD))


tables = st.binary(max_size=60) | st.lists(
    st.sampled_from(
        [
            b"\x01x",
            b"\x00",
            b"T",
            b"F",
            b"A",
            b"S",
            b"x",
            b"D",
            b"l",
            b"V",
            b"t",
            b"f",
            b"\xff" * 8,
            bytes(4),
            bytes(8),
        ]
    )
).map(b"".join)


@given(tables, st.integers(0, 2**63), st.integers(0, 255))
def test_no_table_reaches_further_than_its_message(table: bytes, body_size: int, channel: int) -> None:
    payload = header_payload(table, {"message_id": short(ID), "type": short("task_a")}, body_size)
    consumed, header = read(framed(payload, channel=channel) + b"rest")
    assert consumed == len(payload) + 8
    assert isinstance(header, frame.Header)
    assert (header.channel_number, header.body_size) == (channel, body_size)
    if isinstance(header.properties, BrokenProperties):
        assert (header.properties.message_id, header.properties.type) == (ID, "task_a")


@given(st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=80))
def test_no_header_frame_that_is_framed_well_raises(
    class_id: int, flags: int, body_size: int, rest: bytes
) -> None:
    for number in (60, class_id):
        received = framed(struct.pack(">HHQH", number, 0, body_size, flags) + rest)
        consumed, header = read(received)
        assert consumed == len(received)
        assert header.body_size == body_size
