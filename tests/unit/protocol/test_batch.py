from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.batch import join_replies, pack_batch, read_batch, read_plain_batch
from protocol.codec import decode_arguments, elements, encode
from protocol.errors import ErrorCode, Malformed
from protocol.limits import DEFAULT_LIMITS, Limits
from protocol.reply import Failure, Reply, Run, pack_done, pack_failed
from tests.support.replies import replies_in

ids = st.binary(min_size=16, max_size=16).map(bytes.hex)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
arguments = st.dictionaries(texts, st.integers(0, 300)).map(lambda value: encode(value, DEFAULT_LIMITS))
batches = st.lists(st.tuples(ids, arguments), min_size=1, max_size=40, unique_by=lambda entry: entry[0])
ID, OTHER = "0f8fad5bd9cb469fa16570867728950e", "1f8fad5bd9cb469fa16570867728950e"


def refusal(body: bytes, count: int = 1, limits: Limits = DEFAULT_LIMITS) -> ErrorCode:
    with pytest.raises(Malformed) as refused:
        read_batch(body, count, limits)
    return refused.value.code


@given(batches)
def test_a_batch_is_read_as_it_was_packed(entries: list[tuple[str, bytes]]) -> None:
    body = pack_batch(entries)
    assert read_batch(body, len(entries), DEFAULT_LIMITS) == entries
    assert msgpack.unpackb(body) == [[task_id, msgpack.unpackb(packed)] for task_id, packed in entries]


@given(batches)
def test_the_longer_forms_of_another_program_are_read_as_well(entries: list[tuple[str, bytes]]) -> None:
    long = [b"\xdc\x00\x02\xda\x00\x20" + task_id.encode() + packed for task_id, packed in entries]
    body = b"\xdd" + len(entries).to_bytes(4) + b"".join(long)
    assert read_batch(body, len(entries), DEFAULT_LIMITS) == entries


@pytest.mark.parametrize("count", [1, 15, 16, 255, 1000])
def test_a_batch_of_any_size_up_to_the_limit_is_read(count: int) -> None:
    entries = [(f"{number:032x}", b"\x80") for number in range(count)]
    assert read_batch(pack_batch(entries), count, DEFAULT_LIMITS) == entries
    assert refusal(pack_batch(entries), count, Limits(batch_tasks=count - 1)) is ErrorCode.TOO_LARGE


def test_a_body_over_the_limit_is_too_large() -> None:
    body = pack_batch([(ID, encode({"a": b"x" * 200}, DEFAULT_LIMITS))])
    assert refusal(body, 1, Limits(body_bytes=len(body) - 1)) is ErrorCode.TOO_LARGE


@pytest.mark.parametrize("count", [-1, 0, 1, 3, 4])
def test_a_number_of_tasks_that_is_not_the_header_s_is_a_bad_property(count: int) -> None:
    assert refusal(pack_batch([(ID, b"\x80"), (OTHER, b"\x80")]), count) is ErrorCode.BAD_PROPERTIES


@pytest.mark.parametrize(
    "value",
    [
        {ID: {}},
        [[ID.upper(), {}]],
        [[ID[1:], {}]],
        [[ID + "0", {}]],
        [[ID.encode(), {}]],
        [[1, {}]],
        [[ID, []]],
        [[ID, None]],
        [[ID]],
        [[ID, {}, {}]],
        [{ID: {}}],
        [ID],
        [[[ID], {}]],
    ],
    ids=str,
)
def test_what_is_no_array_of_ids_and_maps_is_undecodable(value: Any) -> None:
    assert refusal(msgpack.packb(value)) is ErrorCode.UNDECODABLE


def test_an_id_twice_is_undecodable() -> None:
    assert refusal(pack_batch([(ID, b"\x80"), (ID, b"\x80")]), 2) is ErrorCode.UNDECODABLE


def test_a_task_whose_arguments_break_the_rules_fails_apart_from_the_others() -> None:
    entries = read_batch(pack_batch([(ID, b"\x81\x01\x01"), (OTHER, b"\x81\xa1a\x01")]), 2, DEFAULT_LIMITS)
    with pytest.raises(Malformed):
        decode_arguments(entries[0][1], DEFAULT_LIMITS)
    assert decode_arguments(entries[1][1], DEFAULT_LIMITS) == {"a": 1}


@given(batches, st.data())
def test_a_truncated_batch_is_refused(entries: list[tuple[str, bytes]], data: st.DataObject) -> None:
    body = pack_batch(entries)
    cut = data.draw(st.integers(0, len(body) - 1))
    assert refusal(body[:cut], len(entries)) is ErrorCode.UNDECODABLE
    assert refusal(body + b"\x00", len(entries)) is ErrorCode.UNDECODABLE


@given(batches, st.data())
def test_a_flipped_bit_is_refused_or_leaves_a_batch(entries: list[tuple[str, bytes]], data: st.DataObject) -> None:
    body = bytearray(pack_batch(entries))
    at = data.draw(st.integers(0, len(body) * 8 - 1))
    body[at // 8] ^= 1 << at % 8
    try:
        read = read_batch(bytes(body), len(entries), DEFAULT_LIMITS)
    except Malformed:
        return
    assert pack_batch(read) == bytes(body)
    assert len(dict(read)) == len(entries)


@given(st.binary(max_size=300), st.integers(-1, 20))
def test_no_bytes_raise_anything_but_malformed(body: bytes, count: int) -> None:
    for prefix in (b"", b"\x91", b"\x91\x92", b"\x91\x92\xd9\x20" + ID.encode()):
        try:
            entries = read_batch(prefix + body, count, DEFAULT_LIMITS)
        except Malformed:
            continue
        assert len(entries) == count


@pytest.mark.parametrize(
    "body",
    [
        bytes.fromhex("ddffffffff"),
        bytes.fromhex("dd000fffff") * 200_000,
        b"\x91" * 1_000_000,
        b"\x91\x92" + bytes.fromhex("dd000fffff") * 200_000,
        b"\x91\x92\xd9\x20" + ID.encode() + bytes.fromhex("df000fffff") * 200_000,
        b"\x91\x92\xdb\xff\xff\xff\xff",
    ],
    ids=["one claim", "claims", "nested", "claims for an id", "claims for arguments", "a long id"],
)
def test_a_hostile_batch_is_refused_in_little_memory(body: bytes) -> None:
    tracemalloc.start()
    try:
        refusal(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


values = st.one_of(
    st.none(), st.integers(-300, 300), texts, st.binary(max_size=3), st.lists(st.integers(0, 3), max_size=3)
)
plain = st.dictionaries(texts, values, max_size=3).map(lambda value: encode(value, DEFAULT_LIMITS))


@given(
    st.lists(st.tuples(ids, plain), min_size=1, max_size=8, unique_by=lambda entry: entry[0]),
    st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), max_size=2),
    st.integers(-1, 1),
)
def test_a_batch_that_is_read_at_once_is_one_that_would_be_read_piece_by_piece_to_the_same(
    entries: list[tuple[str, bytes]], changes: list[tuple[int, int]], more: int
) -> None:
    body, count = bytearray(pack_batch(entries)), len(entries) + more
    for at, value in changes:
        body[at % len(body)] = value
    at_once = read_plain_batch(bytes(body), count, DEFAULT_LIMITS)
    if at_once is not None:
        pieces = read_batch(bytes(body), count, DEFAULT_LIMITS)
        assert repr(list(at_once.items())) == repr(
            [(task_id, decode_arguments(packed, DEFAULT_LIMITS)) for task_id, packed in pieces]
        )
    elif not changes and not more:
        decoded = [msgpack.unpackb(packed) for _, packed in entries]
        assert any(type(value) is list for table in decoded for value in table.values())


@pytest.mark.parametrize(
    "odd",
    [
        b"\x81\xa1a\x01\x81",
        b"\x82\xa1a\x01\xa1a\x02",
        b"\x81\xc4\x01a\x01",
        b"\x81\xa1a\xd4\x01\x00",
        b"\x81\xa1a\x90",
        b"\x81\xa1a\xa1\xff",
        b"\x81\x01\x01",
        b"\x90",
    ],
)
def test_what_is_odd_about_one_of_its_tasks_is_seen_when_a_batch_is_read_at_once(odd: bytes) -> None:
    body = pack_batch([(ID, b"\x81\xa1a\x01"), (OTHER, odd)])
    assert read_plain_batch(body, 2, DEFAULT_LIMITS) is None


def test_a_batch_with_an_id_twice_or_over_a_limit_is_not_read_at_once() -> None:
    body = pack_batch([(ID, b"\x80"), (OTHER, b"\x80")])
    assert read_plain_batch(body, 2, DEFAULT_LIMITS) == {ID: {}, OTHER: {}}
    assert read_plain_batch(body, 2, Limits(batch_tasks=1)) is None
    assert read_plain_batch(body, 2, Limits(body_bytes=len(body) - 1)) is None
    assert read_plain_batch(pack_batch([(ID, b"\x80"), (ID, b"\x80")]), 2, DEFAULT_LIMITS) is None
    for odd in (ID[:-1] + "g", ID.upper()):
        assert read_plain_batch(pack_batch([(odd, b"\x80")]), 1, DEFAULT_LIMITS) is None
    uneven = msgpack.packb([[ID[:31], {}], [OTHER + "0", {}]])
    assert read_plain_batch(uneven, 2, DEFAULT_LIMITS) is None


@pytest.mark.parametrize(
    "body",
    [
        b"\x91" + b"\xdd\x00\x0f\xff\xff" * 200_000,
        b"\x91" + b"\xdf\x00\x07\xff\xff\xa1a" * 140_000,
        b"\xdd\x00\x0f\xff\x00" + b"\x80" * 0xFFF00,
    ],
)
def test_a_batch_that_claims_much_is_not_read_at_once(body: bytes) -> None:
    tracemalloc.start()
    try:
        assert read_plain_batch(body, 1, DEFAULT_LIMITS) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


@given(st.lists(arguments, max_size=20), st.integers(0, 25))
def test_the_elements_of_an_array_are_its_bytes(values: list[bytes], most: int) -> None:
    body = b"\xdc" + len(values).to_bytes(2) + b"".join(values)
    assert elements(body, most) == values[: most + 1]


def test_many_replies_in_one_message_are_read_as_each_of_them_was_packed() -> None:
    run = Run(attempts=1, worker="w:1", ran_ms=3)
    packed = [pack_done(f"{number:032x}", encode(number, DEFAULT_LIMITS), run) for number in range(40)]
    packed.append(pack_failed(OTHER, Failure(code="rejected", type="Reject", text="no"), run, DEFAULT_LIMITS))
    for replies in (packed, packed[:1]):
        joined = join_replies(ID, [reply.body for reply in replies])
        assert (joined.id, joined.type) == (ID, "batch")
        assert joined.properties.correlation_id == ID
        expected: list[Reply] = [replies_in(reply.body)[0] for reply in replies]
        assert replies_in(joined.body) == expected
