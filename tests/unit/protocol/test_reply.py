from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.batch import join_replies
from protocol.codec import decode, encode
from protocol.errors import ErrorCode
from protocol.limits import DEFAULT_LIMITS, JOINED_BYTES, Limits
from protocol.reply import (
    Failure,
    Reply,
    Run,
    Unreadable,
    _one_by_one,
    _plain,
    pack_done,
    pack_failed,
    read_replies,
)
from protocol.task import read_requester
from tests.contract.checks import received
from tests.support.replies import replies_in

ID = "0f8fad5bd9cb469fa16570867728950e"
ADDRESS = "mailbox.results"

counts = st.integers(0, 2**53)
runs = st.builds(
    Run,
    attempts=counts,
    worker=st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
    queued_ms=counts,
    ran_ms=counts,
)
results = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=20)
    | st.lists(st.integers(0, 300), max_size=30)
)


@given(runs, results)
def test_a_result_arrives_as_it_was_packed(run: Run, result: Any) -> None:
    packed = pack_done(ID, encode(result, DEFAULT_LIMITS), run)
    assert packed.type == "done"
    assert replies_in(packed.body) == [Reply(id=ID, run=run, result=result)]


@given(runs, st.sampled_from(ErrorCode), st.text(max_size=255), st.text(max_size=3000))
def test_a_failure_arrives_with_its_text_cut_to_the_limit(run: Run, code: str, type_: str, text: str) -> None:
    packed = pack_failed(ID, Failure(code=code, type=type_, text=text), run, DEFAULT_LIMITS)
    [reply] = replies_in(packed.body)
    assert packed.type == "failed"
    assert reply.failure is not None
    assert (reply.failure.code, reply.failure.type) == (code, type_)
    assert len(reply.failure.text.encode()) <= DEFAULT_LIMITS.error_text_bytes
    assert reply.run == run


def test_a_result_of_every_limit_at_once_still_fits_into_a_reply() -> None:
    limits = Limits(body_bytes=2000, depth=3, nodes=100)
    result = [[[0] * 96], b"x" * 1890]
    body = encode(result, limits)
    assert len(body) == limits.body_bytes - 5 or len(body) <= limits.body_bytes
    run = Run(attempts=2**64 - 1, worker="w" * 255, queued_ms=2**64 - 1, ran_ms=2**64 - 1)
    [reply] = replies_in(pack_done(ID, body, run).body, limits)
    assert reply.result == result


@given(st.integers(16, 16_384), st.integers(1024, 2**20))
def test_a_failure_of_any_configured_length_can_be_read_by_the_same_limits(
    text_bytes: int, body_bytes: int
) -> None:
    limits = Limits(error_text_bytes=text_bytes, body_bytes=body_bytes)
    packed = pack_failed(
        ID, Failure(code="rejected", type="E" * 255, text="x" * 20_000), Run(attempts=1, worker="w"), limits
    )
    assert len(replies_in(packed.body, limits)) == 1


def test_the_replies_of_a_batch_are_read_from_one_message() -> None:
    run = Run(attempts=1, worker="w")
    replies = [
        Reply(id=ID, run=run, result=1),
        Reply(id="1" * 32, run=run, failure=Failure(code="a", type="b", text="c")),
    ]
    body = msgpack.packb([reply.to_map() for reply in replies])
    assert replies_in(body) == replies


def test_a_reply_that_cannot_be_read_does_not_harm_those_beside_it() -> None:
    run = Run(attempts=1, worker="w")
    first, third = pack_done(ID, b"\x01", run), pack_done("3" * 32, b"\x03", run)
    too_deep = pack_done("2" * 32, b"\x91" * 40 + b"\x90", run)
    body = join_replies(ID, [first.body, too_deep.body, third.body]).body
    one, odd, other = read_replies(body, DEFAULT_LIMITS)
    assert [one, other] == [*replies_in(first.body), *replies_in(third.body)]
    assert isinstance(odd, Unreadable)
    assert (odd.id, odd.error.code, odd.is_beside_others) == ("2" * 32, "too_large", True)


@given(
    st.lists(st.tuples(results, st.integers(0, 2), st.integers(0, 300)), min_size=1, max_size=20),
    st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), max_size=3),
)
def test_replies_that_are_read_at_once_are_read_as_each_by_itself(
    ends: list[tuple[Any, int, int]], changes: list[tuple[int, int]]
) -> None:
    packed = [
        pack_done(
            f"{number:032x}",
            encode(result, DEFAULT_LIMITS),
            Run(attempts=1, worker="w", replay=replay, queued_ms=ms),
        )
        for number, (result, replay, ms) in enumerate(ends)
    ]
    body = bytearray(join_replies(ID, [one.body for one in packed]).body)
    for at, value in changes:
        body[at % len(body)] = value
    at_once = _plain(bytes(body), DEFAULT_LIMITS)
    assert not at_once or at_once == _one_by_one(bytes(body), DEFAULT_LIMITS)
    if not changes and all(result is None or type(result) is int for result, *_ in ends):
        assert at_once or any(replay for _, replay, _ in ends)


def test_arrays_that_claim_more_than_they_hold_are_not_read_at_once() -> None:
    head = b"\xdc\x04\x00"
    odd = head + (b"\xdd" + (10**5).to_bytes(4)) * 40 + bytes(10**5)
    assert _plain(odd, DEFAULT_LIMITS) is None
    [refused] = read_replies(odd, DEFAULT_LIMITS)
    assert isinstance(refused, Unreadable)


def test_of_a_reply_that_is_none_at_all_there_is_no_id() -> None:
    for body in (b"\xc1", b"\x80", b"\x92\x01", bytes(2 * 2**20)):
        [odd] = read_replies(body, DEFAULT_LIMITS)
        assert isinstance(odd, Unreadable)
        assert (odd.id, odd.is_beside_others) == (None, False)


def test_replies_that_left_together_may_be_larger_than_one_of_them() -> None:
    limits, run = Limits(body_bytes=1024), Run(attempts=1, worker="w")
    packed = [pack_done(f"{number:032x}", b"\xc0", run) for number in range(JOINED_BYTES // 90)]
    body = join_replies(ID, [one.body for one in packed]).body
    assert limits.for_reply.body_bytes < len(body) <= JOINED_BYTES
    assert len(replies_in(body, limits)) == len(packed)
    [refused] = read_replies(join_replies(ID, 2 * [one.body for one in packed]).body, limits)
    assert isinstance(refused, Unreadable)
    assert refused.error.code == "too_large"


def test_an_array_of_a_million_things_that_are_no_replies_is_refused_as_a_whole() -> None:
    [odd] = read_replies(b"\xdd" + (10**6).to_bytes(4) + b"\xc0" * 10**6, DEFAULT_LIMITS)
    assert isinstance(odd, Unreadable)
    assert (odd.id, odd.error.code) == (None, "undecodable")


def test_the_shortest_replies_can_be_read_together() -> None:
    short = pack_done(ID, b"\xc0", Run(attempts=1, worker=""))
    assert len(replies_in(join_replies(ID, 3000 * [short.body]).body)) == 3000


def test_a_reply_has_the_task_s_id_as_its_correlation_id() -> None:
    properties = pack_done(ID, b"\xc0", Run(attempts=1, worker="w")).properties
    assert properties.correlation_id == ID
    assert properties.message_id is None
    assert properties.reply_to is None


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything(body: bytes) -> None:
    assert all(isinstance(found, Reply | Unreadable) for found in read_replies(body, DEFAULT_LIMITS))


@given(
    st.dictionaries(
        st.sampled_from(["id", "result", "error", "attempts", "worker", "queued_ms", "ran_ms"]),
        results | st.just(ID),
    )
)
def test_no_map_raises_anything(table: dict[str, Any]) -> None:
    [reply] = read_replies(encode(table, DEFAULT_LIMITS), DEFAULT_LIMITS)
    assert isinstance(reply, Unreadable) or reply.id == table["id"]


@pytest.mark.parametrize("attempt", [True, False, 0, -1, "2", None, 10**7, [1], 2.0])
def test_a_requester_of_a_message_with_a_strange_attempt_still_gets_a_reply_that_it_can_read(
    attempt: object,
) -> None:
    properties = received({"message_id": ID, "reply_to": ADDRESS, "headers": {"attempt": attempt}})
    requester = read_requester(properties)
    assert requester is not None
    failure = Failure(code="bad_properties", type="bad_properties", text="")
    packed = pack_failed(ID, failure, Run(attempts=requester.attempt, worker="w"), DEFAULT_LIMITS)
    assert decode(packed.body, DEFAULT_LIMITS)["attempts"] == 1
    [reply] = replies_in(packed.body)
    assert reply.run.attempts == 1
