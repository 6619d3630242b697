"""The same bytes, cut anywhere, to pika's reader and to ours: their users must see the same."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pika import frame, spec

from broker.amqp.pika_connection import PikaConnection
from tests.support.differential import ACKING, CANCEL, CHANNELS, NOT_ACKING, compare, framed, method

fuzzed = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

texts = st.sampled_from(["", "task_a", "amq.rabbitmq.reply-to.x", "ü" * 20, "0f8fad5bd9cb469fa16570867728950e"])
values = st.recursive(
    st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8) | st.booleans() | st.none() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
properties = st.builds(
    spec.BasicProperties,
    content_type=st.none() | texts,
    content_encoding=st.none() | texts,
    headers=st.none() | st.dictionaries(st.text(max_size=6), values, max_size=4),
    delivery_mode=st.none() | st.integers(0, 255),
    priority=st.none() | st.integers(0, 255),
    correlation_id=st.none() | texts,
    reply_to=st.none() | texts | st.just(b"\xff\xfe"),
    expiration=st.none() | texts,
    message_id=st.none() | texts,
    timestamp=st.none() | st.integers(0, 2**64 - 1),
    type=st.none() | texts,
    user_id=st.none() | texts,
    app_id=st.none() | texts,
    cluster_id=st.none() | texts,
)
bodies = st.sampled_from([b"", b"x", b"hello" * 30, bytes(4000), bytes(9000), CANCEL, b"\xce" * 30])
tags = st.sampled_from([ACKING, ACKING, ACKING, NOT_ACKING, "nobody"])
bits = st.booleans()
channels = st.sampled_from(CHANNELS)
numbers = st.integers(0, 2**64 - 1) | st.integers(1, 20)


@st.composite
def contents(draw: Any, channel: int) -> list[bytes]:
    """A delivery or a return as frames, its header sometimes one that cannot be decoded, its body cut anywhere."""
    name, key = draw(texts), draw(texts)
    if draw(st.integers(0, 5)):
        start = spec.Basic.Deliver(draw(tags), draw(numbers), draw(bits), name, key)
    else:
        start = spec.Basic.Return(312, "NO_ROUTE", name, key)
    body = draw(bodies)
    header = frame.Header(channel, len(body), draw(properties)).marshal()
    if not draw(st.integers(0, 4)):
        header = draw(broken(header, channel))
    cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=1 if len(body) <= 4000 else 3)))
    edges = [0, *cuts, len(body)] if cuts or len(body) <= 4000 else [0, 4000, 8000, len(body)]
    parts = [body[a:b] for a, b in pairwise(edges)]
    return [method(channel, start), header, *(framed(3, channel, part) for part in parts if part)]


@st.composite
def broken(draw: Any, header: bytes, channel: int) -> bytes:
    """The header with other flags or another table, framed well."""
    payload = bytearray(header[7:-1])
    for _ in range(draw(st.integers(1, 3))):
        payload[draw(st.integers(12, len(payload) - 1))] = draw(st.integers(0, 255))
    return framed(2, channel, bytes(payload[: draw(st.integers(14, len(payload)))]))


def confirms(channel: int) -> st.SearchStrategy[list[bytes]]:
    made = st.builds(spec.Basic.Ack, numbers, bits) | st.builds(spec.Basic.Nack, numbers, bits, bits)
    return made.map(lambda confirm: [method(channel, confirm)])


def rarities(channel: int) -> st.SearchStrategy[list[bytes]]:
    close = method(channel, spec.Channel.Close(406, "PRECONDITION_FAILED", 60, 80))
    beat = frame.Heartbeat().marshal()
    one = st.sampled_from([beat, beat, close, b"AMQP\x00\x00\x09\x01"])
    cancels = tags.map(lambda tag: method(channel, spec.Basic.Cancel(tag, True)))
    return (one | cancels).map(lambda made: [made])


@st.composite
def streams(draw: Any) -> bytes:
    """What two channels get, each in its order, and woven into one another frame by frame."""
    lanes: dict[int, list[bytes]] = {}
    for channel in CHANNELS:
        kinds = st.one_of(contents(channel), contents(channel), confirms(channel), rarities(channel))
        lanes[channel] = [one for group in draw(st.lists(kinds, max_size=8)) for one in group]
    woven: list[bytes] = []
    turns = draw(st.lists(st.tuples(channels, st.integers(1, 6)), max_size=16))
    for channel, count in [*turns, *((channel, 1 << 20) for channel in CHANNELS)]:
        woven += lanes[channel][:count]
        del lanes[channel][:count]
    return b"".join(woven)


@st.composite
def cut(draw: Any, stream: bytes) -> list[bytes]:
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    edges = [0, *places, len(stream)]
    return [part for a, b in pairwise(edges) if (part := stream[a:b])]


@given(st.data())
@fuzzed
def test_whatever_a_broker_sends_our_reader_and_pika_s_say_the_same(data: st.DataObject) -> None:
    stream = data.draw(streams())
    pika, ours = compare(data.draw(cut(stream)))
    assert not ours.is_ended
    assert isinstance(ours.connection, PikaConnection)
    assert ours.connection.bytes_received == pika.connection.bytes_received
    assert ours.connection.frames_received == pika.connection.frames_received


@given(st.data())
@fuzzed
def test_a_stream_that_stops_anywhere_has_said_the_same_until_then(data: st.DataObject) -> None:
    stream = data.draw(streams())
    compare(data.draw(cut(stream[: data.draw(st.integers(0, len(stream)))])))


@given(st.data())
@fuzzed
def test_garbage_in_a_stream_ends_our_connection_where_it_ends_pika_s(data: st.DataObject) -> None:
    stream = bytearray(data.draw(streams()))
    assume(stream)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(stream) - 1))
        garbage = data.draw(st.binary(max_size=12))
        end = at + data.draw(st.sampled_from([0, len(garbage), 8]))
        stream[at:end] = garbage
        assume(stream)
    compare(data.draw(cut(bytes(stream))))
