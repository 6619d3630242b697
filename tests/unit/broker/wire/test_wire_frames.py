"""Frames are read as an independent decoder reads them, cut anywhere, and hold no login."""

from __future__ import annotations

import inspect
import itertools
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pamqp.base
import pamqp.body
import pamqp.commands
import pamqp.frame
import pamqp.header
import pamqp.heartbeat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.wire.conversation import Conversation
from broker.wire.frames import Frame, Reader
from broker.wire.grammar import METHODS

TABLE: Any = {
    "text": "x" * 300,
    "number": -7,
    "large": 2**40,
    "true": True,
    "nothing": None,
    "list": [1, "two", {"three": 3}],
    "time": datetime(2026, 11, 30, tzinfo=UTC),
    "decimal": Decimal("-1.25"),
    "float": 0.5,
}
SAMPLES: dict[str, Any] = {
    "bit": True,
    "octet": 7,
    "short": 513,
    "long": 70_000,
    "longlong": 2**40,
    "shortstr": "tasks",
    "longstr": "en_US",
    "table": TABLE,
}
CLASSES = [
    method
    for group in vars(pamqp.commands).values()
    if inspect.isclass(group)
    for method in vars(group).values()
    if inspect.isclass(method) and issubclass(method, pamqp.base.Frame)
]
#: Fields that the specification reserves.
EMPTY = ("ticket", "capabilities", "insist", "out_of_band", "known_hosts", "channel_id", "cluster_id")
LOGIN = b"\x00guest\x00not-to-be-seen"


def filled(kind: type[pamqp.base.Frame]) -> pamqp.base.Frame:
    """A method with a value in every field that may have one."""
    made = kind()
    for name in kind.__slots__:
        if name not in EMPTY:
            sample = SAMPLES[getattr(kind, f"_{name}")]
            setattr(made, name, "x" if name == "exchange_type" else sample)
    return made


def read(data: bytes, *, by_client: bool = False) -> list[Frame]:
    return Reader(by_client=by_client).feed(data)


@pytest.mark.filterwarnings("ignore:.*deprecated in AMQP:DeprecationWarning")
@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.name)
def test_a_method_is_read_as_another_decoder_writes_it_and_every_byte_has_its_field(
    kind: type[pamqp.base.Frame],
) -> None:
    made = filled(kind)
    raw = pamqp.frame.marshal(made, 3)
    [frame] = read(raw)
    assert (frame.kind, frame.channel, frame.problem) == ("method", 3, "")
    assert frame.method.replace("-", "").replace(".", "") == kind.name.replace(".", "").lower()
    assert len(frame.raw) == len(raw)
    if frame.raw == raw:
        values = [getattr(made, name) for name in kind.__slots__]
        for value in frame.fields.values():
            value = value.decode() if isinstance(value, bytes) else value
            assert value in values


def test_every_method_of_the_grammar_has_a_peer_or_is_an_answer_without_fields() -> None:
    peers = {kind.name.replace(".", "").lower() for kind in CLASSES}
    ours = {method.name.replace("-", "").replace(".", "") for method in METHODS.values()}
    assert peers <= ours


def test_content_is_read_with_all_its_properties() -> None:
    properties = pamqp.commands.Basic.Properties(
        content_type="application/msgpack",
        content_encoding="identity",
        headers=dict(TABLE),
        delivery_mode=2,
        priority=4,
        correlation_id="c",
        reply_to="r",
        expiration="1000",
        message_id="m",
        timestamp=datetime(2026, 11, 30, tzinfo=UTC),
        message_type="task_a",
        user_id="u",
        app_id="glassrabbit",
    )
    header = pamqp.frame.marshal(pamqp.header.ContentHeader(0, 5, properties), 1)
    body = pamqp.frame.marshal(pamqp.body.ContentBody(b"hello"), 1)
    first, second = read(header + body)
    assert first.fields["headers"] == TABLE
    assert (first.fields["type"], first.fields["body_size"], first.problem) == ("task_a", 5, "")
    assert second.payload == b"hello"


STREAM = b"".join(
    [
        b"AMQP\x00\x00\x09\x01",
        pamqp.frame.marshal(filled(pamqp.commands.Basic.Publish), 1),
        pamqp.frame.marshal(pamqp.heartbeat.Heartbeat(), 0),
        pamqp.frame.marshal(pamqp.body.ContentBody(b"hello"), 1),
        pamqp.frame.marshal(filled(pamqp.commands.Basic.Ack), 1),
    ]
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_however_the_bytes_are_cut_the_frames_are_the_same_and_none_is_missing(cuts: list[int]) -> None:
    reader, frames, places = Reader(by_client=True), [], [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(places):
        frames += reader.feed(STREAM[start:end])
    assert frames == read(STREAM, by_client=True)
    assert b"".join(frame.raw for frame in frames) == STREAM


@given(st.binary(max_size=200), st.booleans())
def test_whatever_comes_nothing_is_raised_and_no_byte_is_lost(data: bytes, by_client: bool) -> None:
    reader = Reader(by_client=by_client)
    frames = reader.feed(data) + reader.feed(b"\xff" * 8)
    assert b"".join(frame.raw for frame in frames) in (data, data + b"\xff" * 8) or not reader.is_lost


@pytest.mark.parametrize(
    "method",
    [
        pamqp.commands.Connection.StartOk({"password": "x"}, "PLAIN", LOGIN.decode(), "en_US"),
        pamqp.commands.Connection.SecureOk(LOGIN.decode()),
        pamqp.commands.Connection.UpdateSecret(LOGIN.decode(), "it changed"),
    ],
    ids=lambda method: method.name,
)
def test_a_login_is_overwritten_at_equal_length_also_where_its_method_cannot_be_read(
    method: pamqp.base.Frame,
) -> None:
    raw = pamqp.frame.marshal(method, 0)
    [frame] = read(raw)
    assert b"not-to-be-seen" not in frame.raw
    assert b"not-to-be-seen" not in repr(frame).encode()
    assert len(frame.raw) == len(raw)
    payload = raw[7:-1] + b"?"
    longer = raw[:3] + len(payload).to_bytes(4) + payload + raw[-1:]
    shorter = raw[:3] + (len(raw) - 10).to_bytes(4) + raw[7:-3] + raw[-1:]
    for broken in (longer, shorter):
        [frame] = read(broken)
        assert frame.problem
        assert b"not-to-be-seen" not in frame.raw


def spoken(*methods: tuple[pamqp.base.Frame, bool]) -> list[str]:
    conversation, said = Conversation(), []
    for at_s, (method, by_client) in enumerate(methods):
        [frame] = read(pamqp.frame.marshal(method, 1))
        said.append(conversation.note(frame, by_client=by_client, at_s=at_s / 1000))
    return said


def test_a_confirm_names_its_publish_and_an_ack_its_delivery() -> None:
    basic = pamqp.commands.Basic
    assert spoken(
        (pamqp.commands.Confirm.Select(), True),
        (basic.Publish(0, "tasks", "a"), True),
        (basic.Publish(0, "tasks", "b"), True),
        (basic.Ack(2, True), False),
        (basic.Deliver("one", 7, False, "tasks", "a"), False),
        (basic.Ack(7), True),
        (basic.Ack(8), True),
    )[1:] == [
        "publish 1 of the channel",
        "publish 2 of the channel",
        "publish 1 to 2 after 2.0 ms",
        "",
        "delivery 7 after 1.0 ms",
        "delivery 8, which is not outstanding",
    ]


def test_what_is_delivered_to_a_consumer_without_acks_is_not_outstanding() -> None:
    conversation, basic = Conversation(), pamqp.commands.Basic
    for method, by_client in (
        (basic.Consume(0, "a", "", False, True), True),
        (basic.ConsumeOk("made"), False),
        (basic.Deliver("made", 1, False, "tasks", "a"), False),
    ):
        [frame] = read(pamqp.frame.marshal(method, 1))
        conversation.note(frame, by_client=by_client, at_s=0.0)
    assert dict(conversation.summary())["unsettled at the end"] == "0"
