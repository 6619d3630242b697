from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codec import decode, encode
from protocol.errors import ErrorCode, Malformed
from protocol.limits import DEFAULT_LIMITS, Limits
from protocol.reply import Failure, Reply, Run, pack_done, pack_failed, read_replies
from protocol.task import read_requester
from tests.contract.checks import received

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
    assert read_replies(packed.body, DEFAULT_LIMITS) == [Reply(id=ID, run=run, result=result)]


@given(runs, st.sampled_from(ErrorCode), st.text(max_size=255), st.text(max_size=3000))
def test_a_failure_arrives_with_its_text_cut_to_the_limit(run: Run, code: str, type_: str, text: str) -> None:
    packed = pack_failed(ID, Failure(code=code, type=type_, text=text), run, DEFAULT_LIMITS)
    [reply] = read_replies(packed.body, DEFAULT_LIMITS)
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
    [reply] = read_replies(pack_done(ID, body, run).body, limits)
    assert reply.result == result


@given(st.integers(16, 16_384), st.integers(1024, 2**20))
def test_a_failure_of_any_configured_length_can_be_read_by_the_same_limits(
    text_bytes: int, body_bytes: int
) -> None:
    limits = Limits(error_text_bytes=text_bytes, body_bytes=body_bytes)
    packed = pack_failed(
        ID, Failure(code="rejected", type="E" * 255, text="x" * 20_000), Run(attempts=1, worker="w"), limits
    )
    assert len(read_replies(packed.body, limits)) == 1


def test_the_replies_of_a_batch_are_read_from_one_message() -> None:
    run = Run(attempts=1, worker="w")
    replies = [
        Reply(id=ID, run=run, result=1),
        Reply(id="1" * 32, run=run, failure=Failure(code="a", type="b", text="c")),
    ]
    body = msgpack.packb([reply.to_map() for reply in replies])
    assert read_replies(body, DEFAULT_LIMITS) == replies


def test_a_reply_has_the_task_s_id_as_its_correlation_id() -> None:
    properties = pack_done(ID, b"\xc0", Run(attempts=1, worker="w")).properties
    assert properties.correlation_id == ID
    assert properties.message_id is None
    assert properties.reply_to is None


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_but_malformed(body: bytes) -> None:
    try:
        read_replies(body, DEFAULT_LIMITS)
    except Malformed:
        return


@given(
    st.dictionaries(
        st.sampled_from(["id", "result", "error", "attempts", "worker", "queued_ms", "ran_ms"]),
        results | st.just(ID),
    )
)
def test_no_map_raises_anything_but_malformed(table: dict[str, Any]) -> None:
    try:
        [reply] = read_replies(encode(table, DEFAULT_LIMITS), DEFAULT_LIMITS)
    except Malformed:
        return
    assert reply.id == table["id"]


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
    [reply] = read_replies(packed.body, DEFAULT_LIMITS)
    assert reply.run.attempts == 1
