"""Properties as we read them are those that pika reads, or none: then pika has the word."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from pika import spec
from pika.exceptions import AMQPError

from broker.amqp.decoding import read_properties
from protocol.properties import Properties
from tests.support.as_pika import to_pika

ID = "0f8fad5bd9cb469fa16570867728950e"
BEFORE, BEHIND = b"before", b"\x00\x02behind"


def read(flags: int, values: bytes) -> dict[str, object] | None:
    """From the middle of a buffer."""
    return read_properties(BEFORE + values + BEHIND, len(BEFORE), len(BEFORE) + len(values), flags)


def agrees(flags: int, values: bytes) -> bool:
    ours = read(flags, values)
    if ours is None:
        return True
    try:
        by_pika = spec.BasicProperties().decode(struct.pack(">H", flags) + values)
    except (AMQPError, ArithmeticError, LookupError, ValueError, OSError, RecursionError, struct.error):
        return False
    return bool(ours == vars(by_pika))


def test_what_we_write_is_read_here_and_not_by_pika() -> None:
    properties = to_pika(
        Properties(
            type="task_a",
            message_id=ID,
            correlation_id=ID,
            reply_to="amq.rabbitmq.reply-to.x",
            timestamp=2**63,
            expiration="60000",
            app_id="glassrabbit",
            headers={"v": 1, "sent_at": 1764000000123, "traceparent": "00-x", "negative": -1},
        )
    )
    encoded = b"".join(properties.encode())
    assert read(int.from_bytes(encoded[:2]), encoded[2:]) == vars(properties)


fields = st.sampled_from(
    [
        b"\x01x",
        b"\x00",
        b"I",
        b"l",
        b"S",
        b"t",
        b"F",
        b"b",
        b"u",
        b"s",
        bytes(3),
        bytes(4),
        bytes(8),
        b"\xff" * 8,
        b"ab",
    ]
)
tables = st.lists(fields, max_size=8).map(b"".join).map(lambda raw: struct.pack(">L", len(raw)) + raw)
pieces = fields | tables | st.sampled_from([b"\x06task_a", b"\x02\xff\xfe", b"\xff", b"\x05short"])


@given(st.integers(0, 0xFFFF), st.lists(pieces, max_size=10).map(b"".join) | st.binary(max_size=60))
def test_we_and_pika_never_read_different_things(flags: int, values: bytes) -> None:
    assert agrees(flags, values)


@given(tables, st.sampled_from([1 << 13, 1 << 13 | 1 << 5]))
def test_we_and_pika_never_read_different_tables(table: bytes, flags: int) -> None:
    assert agrees(flags, table + b"\x06task_a")
