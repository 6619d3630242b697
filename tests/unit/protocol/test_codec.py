from __future__ import annotations

import math
import os
import tracemalloc
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codec import (
    EncodedTooLarge,
    Encoder,
    NotEncodable,
    decode,
    decode_all,
    decode_arguments,
    encode,
    scan,
)
from protocol.errors import ErrorCode, Malformed
from protocol.limits import DEFAULT_LIMITS, Limits
from tests.contract.vectors import same

SMALL = Limits(body_bytes=256, depth=4, nodes=40)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)
#: Heads of every kind, which are likelier here than among random bytes.
PIECES = (
    "80 81a161 82a161c0a161 90 91 93 a0 a161 a1ff c0 c1 c2 c3 c400 c50001ff c600000001ff c70105ff ca3fc00000 "
    "cb3ff8000000000000 cc01 cd0100 ce00010000 cf0000000100000000 d080 d18000 d280000000 d38000000000000000 "
    "d40100 d6ff00000000 d90161 da000161 db0000000161 dc0001 dd00000001 ddffffffff de0001a161 df00000001a161 "
    "8101 81c40161 00 7f e0 ff"
)
pieces = st.sampled_from(PIECES.split()).map(bytes.fromhex)
bodies = st.binary(max_size=40) | st.lists(pieces, max_size=12).map(b"".join)


def reference(body: bytes) -> Any:
    """What msgpack itself makes of a body, with the documented stricter rules on top."""

    def pairs(items: list[tuple[Any, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in items]
        if not all(isinstance(key, str) for key in keys) or len(set(keys)) != len(keys):
            raise ValueError("keys")
        return dict(items)

    def refuse(kind: int, data: bytes) -> Any:
        raise ValueError("extension")

    value = msgpack.unpackb(body, raw=False, strict_map_key=False, object_pairs_hook=pairs, ext_hook=refuse)
    if holds_a_timestamp(value):
        raise ValueError("timestamp")
    return value


def holds_a_timestamp(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(holds_a_timestamp, value.values()))
    if isinstance(value, list):
        return any(map(holds_a_timestamp, value))
    return isinstance(value, msgpack.Timestamp)


@given(values)
def test_what_was_encoded_decodes_to_the_same_value_and_type(value: Any) -> None:
    assert same(decode(encode(value, DEFAULT_LIMITS), DEFAULT_LIMITS), value)


@given(values)
def test_a_value_is_encoded_within_the_limits_or_refused(value: Any) -> None:
    try:
        body = encode(value, SMALL)
    except EncodedTooLarge:
        assert len(msgpack.packb(value)) > 64 or nested(value) > SMALL.depth or nodes(value) > SMALL.nodes
        return
    assert same(decode(body, SMALL), value)


def nested(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(nested, inner)) if inner else 0


def nodes(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(1 + nodes(inner) for inner in value.values())
    return 1 + sum(map(nodes, value)) if isinstance(value, list) else 1


@given(bodies)
def test_bytes_are_accepted_exactly_when_msgpack_and_the_stricter_rules_accept_them(body: bytes) -> None:
    limits = Limits(depth=100)
    try:
        expected = reference(body)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException):
        with pytest.raises(Malformed) as refusal:
            decode(body, limits)
        assert refusal.value.code is ErrorCode.UNDECODABLE
    else:
        assert same(decode(body, limits), expected)


@given(bodies)
def test_what_the_scan_lets_pass_fails_in_msgpack_for_its_text_or_keys_alone(body: bytes) -> None:
    try:
        scan(body, DEFAULT_LIMITS)
    except Malformed:
        return
    msgpack.unpackb(body, raw=True, strict_map_key=False)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_malformed(body: bytes) -> None:
    for limits in (SMALL, DEFAULT_LIMITS):
        try:
            value = decode(body, limits)
        except Malformed as refusal:
            assert refusal.code in (ErrorCode.UNDECODABLE, ErrorCode.TOO_LARGE)  # noqa: PT017
        else:
            assert len(body) <= limits.body_bytes
            assert nested(value) <= limits.depth
            assert nodes(value) <= limits.nodes


@pytest.mark.parametrize(
    "body",
    [
        bytes.fromhex("ddffffffff"),
        bytes.fromhex("dd000fffff") * 200_000,
        bytes.fromhex("dd0001ffff") * 30 + bytes(1_000_000),
        bytes.fromhex("de7fff") * 300_000,
        b"\x91" * 1_000_000,
        bytes.fromhex("81a161") * 300_000,
    ],
    ids=["one claim", "claims nested", "claims that fit, nested", "maps nested", "arrays nested", "maps in maps"],
)
def test_a_hostile_body_is_refused_in_little_memory(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Malformed):
            decode(body, DEFAULT_LIMITS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize("claim", ["dc0fff", "dd00000fff", "de07ff", "df000007ff"])
def test_a_hostile_body_that_is_too_small_to_be_scanned_takes_little_memory_too(claim: str) -> None:
    for nested in (30, 31, 32, 33, 500):
        body = bytes.fromhex(claim) * nested
        body += bytes(4096 - len(body))
        tracemalloc.start()
        try:
            with pytest.raises(Malformed):
                decode(body, DEFAULT_LIMITS)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 3_000_000


@given(bodies, st.integers(1, 6), st.integers(1, 12))
def test_a_body_is_refused_for_its_size_exactly_when_it_is_over_a_limit(
    body: bytes, depth: int, many: int
) -> None:
    """Whether it was scanned or not."""
    limits = Limits(depth=depth, nodes=many)

    def code(read: Callable[[bytes, Limits], Any]) -> ErrorCode | None:
        try:
            read(body, limits)
        except Malformed as refusal:
            return refusal.code
        return None

    if (refused := code(scan)) is not None:
        assert code(decode) is refused


def test_the_limits_themselves_are_allowed_and_one_more_is_not() -> None:
    limits = Limits(body_bytes=20, depth=2, nodes=5)
    for fits, too_much in (
        (b"\xc4\x12" + bytes(18), b"\xc4\x13" + bytes(19)),
        (b"\x91\x91\xc0", b"\x91\x91\x91\xc0"),
        (b"\x94" + bytes(4), b"\x95" + bytes(5)),
        (b"\x82\xa1a\x00\xa1b\x00", b"\x82\xa1a\x00\xa1b\x91\x00"),
    ):
        decode(fits, limits)
        with pytest.raises(Malformed) as refusal:
            decode(too_much, limits)
        assert refusal.value.code is ErrorCode.TOO_LARGE


def test_arguments_are_a_map() -> None:
    assert decode_arguments(b"\x81\xa1a\x01", DEFAULT_LIMITS) == {"a": 1}
    for body in (b"\x90", b"\xc0", b"\xa1a"):
        with pytest.raises(Malformed, match="must be a map"):
            decode_arguments(body, DEFAULT_LIMITS)


def test_tuples_and_byte_arrays_travel_as_arrays_and_bytes() -> None:
    value = {"a": (1, 2), "b": bytearray(b"x"), "c": memoryview(b"y")}
    assert decode(encode(value, DEFAULT_LIMITS), DEFAULT_LIMITS) == {"a": [1, 2], "b": b"x", "c": b"y"}


@pytest.mark.parametrize(
    "value",
    [
        {1: "a"},
        {b"a": "a"},
        {None: 1},
        {"a": {2: 3}},
        {Decimal(1): "a"},
        {date(2026, 11, 30): "a"},
        [{1j}],
        date,
        object(),
        2**64,
        -(2**63) - 1,
        "\ud800",
        {"\udfff": 1},
        1j,
        msgpack.ExtType(5, b"x"),
        msgpack.Timestamp(1),
        memoryview(b"abcdef")[::2],
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_msgpack_cannot_carry_by_the_rules_is_not_encodable(value: object) -> None:
    with pytest.raises(NotEncodable) as refusal:
        encode(value, DEFAULT_LIMITS)
    assert not isinstance(refusal.value, EncodedTooLarge)


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(NotEncodable):
        encode(value, DEFAULT_LIMITS)


def test_an_error_does_not_repeat_the_value() -> None:
    with pytest.raises(NotEncodable) as refusal:
        encode({"password": "secret\ud800"}, DEFAULT_LIMITS)
    assert "secret" not in str(refusal.value)


def test_a_value_over_a_limit_is_too_large() -> None:
    for value in (b"x" * 300, [[[[[1]]]]], list(range(50))):
        with pytest.raises(EncodedTooLarge):
            encode(value, SMALL)


def test_zero_keeps_its_sign() -> None:
    assert math.copysign(1, decode(encode(-0.0, DEFAULT_LIMITS), DEFAULT_LIMITS)) == -1


def test_an_encoder_does_not_keep_the_memory_of_a_value_that_was_too_large() -> None:
    encoder = Encoder(DEFAULT_LIMITS)
    for value in ("x" * 20_000_000, ["x" * 20_000_000, object()]):
        before = resident_bytes()
        with pytest.raises(NotEncodable):
            encoder.encode(value)
        assert resident_bytes() < before + 10_000_000
    assert encoder.encode(1) == b"\x01"


def resident_bytes() -> int:
    """Of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    "value", [b"\xa2ab", b"\xd6\xff\x00\x00\x00\x01", b"\xcd\x03\x03", b"\xcb" + bytes(8), b"\x80\xa5abcde"]
)
def test_what_is_decoded_at_once_takes_little_more_than_twenty_times_its_bytes(value: bytes) -> None:
    count = (2**20 - 5) // len(value)
    body = b"\xdd" + (count * (1 + (value[:1] == b"\x80"))).to_bytes(4) + value * count
    tracemalloc.start()
    try:
        assert decode_all(body) is not None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 25 * len(body)
