"""What we encode ourselves is what pika would have sent, byte for byte."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec
from pika.compat import long

from broker.amqp.encoding import ack_frames, publish_frames
from broker.errors import TooLarge, Unsendable
from protocol.errors import ErrorCode
from protocol.properties import Properties
from tests.support.as_pika import to_pika

LONGEST = 16_384

texts = st.text(max_size=12) | st.sampled_from(
    ["", "x" * 255, "task_a", "0f8fad5bd9cb469fa16570867728950e", ErrorCode.REJECTED]
)
values = st.recursive(
    st.integers(-(2**63), 2**63 - 1) | st.integers(-(2**31) - 1, 2**31) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
properties = st.builds(
    Properties,
    type=st.none() | texts,
    message_id=st.none() | texts,
    correlation_id=st.none() | texts,
    reply_to=st.none() | texts,
    timestamp=st.none() | st.integers(0, 2**64 - 1),
    expiration=st.none() | texts,
    content_type=texts,
    app_id=st.none() | texts,
    headers=st.dictionaries(texts, values, max_size=4),
)


def by_pika(channel: int, exchange: str, key: str, body: bytes, ours: Properties, mandatory: bool) -> list[bytes]:
    """As ``pika.connection.Connection._send_message`` does it."""
    publish = spec.Basic.Publish(exchange=exchange, routing_key=key, mandatory=mandatory)
    parts = [body[at : at + LONGEST] for at in range(0, len(body), LONGEST)]
    frames = [
        frame.Method(channel, publish),
        frame.Header(channel, len(body), to_pika(ours)),
        *(frame.Body(channel, part) for part in parts),
    ]
    return [one.marshal() for one in frames]


def by_us(channel: int, exchange: str, key: str, body: bytes, ours: Properties, mandatory: bool) -> Any:
    return publish_frames(channel, exchange, key, body, ours, mandatory=mandatory, longest=LONGEST)


@given(st.integers(0, 65535), texts, texts, st.binary(max_size=100), properties, st.booleans())
def test_a_publish_is_the_frames_that_pika_would_have_sent(
    channel: int, exchange: str, key: str, body: bytes, ours: Properties, mandatory: bool
) -> None:
    given_ = (channel, exchange, key, body, ours, mandatory)
    assert by_us(*given_) == by_pika(*given_)


@pytest.mark.parametrize("size", [0, 1, LONGEST - 1, LONGEST, LONGEST + 1, 2 * LONGEST, 2 * LONGEST + 1])
def test_a_body_is_cut_where_pika_cuts_it(size: int) -> None:
    given_ = (1, "tasks", "task_a", bytes(size), Properties(), True)
    assert by_us(*given_) == by_pika(*given_)


LONG = "x" * 256


@pytest.mark.parametrize(
    ("exchange", "key", "ours"),
    [
        (LONG, "", Properties()),
        ("", LONG, Properties()),
        ("", "", Properties(message_id=LONG)),
        ("", "", Properties(type="ü" * 128)),
        ("", "", Properties(headers={LONG: 1})),
        ("", "", Properties(headers={"x": "y" * LONGEST})),
        ("", "", Properties(headers={"x": ["y" * 1000] * 17})),
    ],
)
def test_what_does_not_fit_is_too_large(exchange: str, key: str, ours: Properties) -> None:
    with pytest.raises(TooLarge):
        by_us(1, exchange, key, b"", ours, True)


@pytest.mark.parametrize(
    ("key", "ours"),
    [
        ("\ud800", Properties()),
        ("", Properties(type="\ud800")),
        ("", Properties(headers={"x": "\udce9"})),
        ("", Properties(headers={"\udce9": 1})),
        ("", Properties(timestamp=-1)),
        ("", Properties(headers={"x": 2**63})),
        ("", Properties(headers={"x": [None]})),
        ("", Properties(headers={"x": True})),
        ("", Properties(headers={"x": 1.5})),  # type: ignore[dict-item]
    ],
)
def test_what_amqp_cannot_carry_or_we_do_not_write_is_not_sent(key: str, ours: Properties) -> None:
    with pytest.raises(Unsendable):
        by_us(1, "tasks", key, b"", ours, True)


def test_a_number_as_pika_reads_it_is_written_as_a_number() -> None:
    for number in (1, 100, 2**40):
        ours, read = (Properties(headers={"x": [kind(number)]}) for kind in (int, long))
        assert by_us(1, "", "", b"", read, True) == by_us(1, "", "", b"", ours, True)


def test_properties_fill_a_frame_to_its_last_byte() -> None:
    def filled(size: int) -> list[bytes]:
        return publish_frames(
            1, "", "", b"", Properties(headers={"x": "y" * size}), mandatory=False, longest=LONGEST
        )

    fits = LONGEST - (len(filled(0)[1]) - 8)
    assert len(filled(fits)[1]) == LONGEST + 8
    with pytest.raises(TooLarge):
        filled(fits + 1)


@given(st.integers(0, 65535), st.integers(0, 2**64 - 1), st.lists(st.integers(0, 2**64 - 1), max_size=3))
def test_acks_are_the_frames_that_pika_would_have_sent(channel: int, up_to: int, singles: list[int]) -> None:
    acks = [spec.Basic.Ack(up_to, True)] if up_to else []
    acks += [spec.Basic.Ack(tag, False) for tag in singles]
    assert ack_frames(channel, up_to, singles) == [frame.Method(channel, ack).marshal() for ack in acks]
