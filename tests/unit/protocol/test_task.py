from __future__ import annotations

from dataclasses import replace
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ErrorCode, Malformed
from protocol.limits import DEFAULT_LIMITS, Limits
from protocol.reply import Failure, Run, pack_failed
from protocol.task import Attempt, Task, read_requester, read_task, task_properties
from tests.contract.checks import content_header, decoded_header, received
from tests.support.as_pika import to_pika

ID = "0f8fad5bd9cb469fa16570867728950e"
GOOD: dict[str, Any] = {"message_id": ID, "type": "task_a", "headers": {"v": 1}}

times = st.integers(0, 10**13)
counts = st.integers(0, 1_000_000)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
attempts = st.builds(
    Attempt,
    attempt=st.integers(1, 10**6),
    error=text,
    text=text,
    worker=text,
    started_ms=times,
    ran_ms=times,
    retry_in_ms=times,
)
tasks = st.builds(
    Task,
    id=st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    name=st.sampled_from(["task_a", "reports.daily", "a" * 100]),
    body=st.binary(max_size=20),
    reply_to=st.none() | st.just("mailbox.results"),
    timestamp=st.integers(0, 10**10),
    sent_at=times,
    expires_at=times,
    attempt=st.integers(1, 10**6),
    resent=counts,
    replay=counts,
    batch=counts,
    history=st.lists(attempts, max_size=10).map(tuple),
    trace=st.dictionaries(st.sampled_from(["traceparent", "tracestate"]), text),
)
#: Everything that pika may hand over as a field of a table.
fields = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=9)
    | st.datetimes(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.binary(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
known = st.sampled_from(
    ["v", "attempt", "sent_at", "expires_at", "resent", "replay", "batch", "history", "traceparent", "tracestate"]
)
properties = st.sampled_from(
    [
        "content_type",
        "content_encoding",
        "type",
        "message_id",
        "correlation_id",
        "reply_to",
        "timestamp",
        "headers",
    ]
)


@given(tasks)
def test_a_task_is_read_as_it_was_written_also_through_amqp(task: Task) -> None:
    written = to_pika(task_properties(task))
    header = content_header(written, task.body)
    assert read_task(decoded_header(header), task.body, DEFAULT_LIMITS) == task


@given(tasks)
def test_the_properties_of_any_task_fit_into_one_frame(task: Task) -> None:
    assert len(content_header(to_pika(task_properties(task)), task.body)) < 131_064


@given(st.dictionaries(known, fields), st.dictionaries(properties, fields))
def test_no_properties_raise_anything_but_malformed(headers: dict[str, Any], odd: dict[str, Any]) -> None:
    message = received({**GOOD, "headers": {"v": 1, **headers}, **odd})
    try:
        task = read_task(message, b"\x80", DEFAULT_LIMITS)
    except Malformed as refusal:
        assert refusal.code in (  # noqa: PT017
            ErrorCode.BAD_PROPERTIES,
            ErrorCode.BAD_REPLY_TO,
            ErrorCode.UNSUPPORTED_VERSION,
        )
    else:
        task_properties(task)
    read_requester(message)


@pytest.mark.parametrize(("characters", "kept"), [("a" * 1024, True), ("a" * 1025, False), ("ü" * 513, False)])
def test_a_trace_header_of_up_to_a_kibibyte_is_passed_through(characters: str, kept: bool) -> None:
    task = read_task(received({**GOOD, "headers": {"v": 1, "tracestate": characters}}), b"\x80", DEFAULT_LIMITS)
    assert task.trace == ({"tracestate": characters} if kept else {})


def test_a_first_dispatch_says_no_more_than_it_must() -> None:
    written = task_properties(Task(id=ID, name="task_a", body=b"\x80"))
    assert written.headers == {"v": 1}
    assert written.correlation_id is None
    assert written.timestamp is None
    assert written.expiration is None


def test_the_version_is_looked_at_before_anything_else() -> None:
    with pytest.raises(Malformed) as refusal:
        read_task(received({"headers": {"v": 2}, "message_id": "x"}), b"", DEFAULT_LIMITS)
    assert refusal.value.code is ErrorCode.UNSUPPORTED_VERSION


def test_a_body_over_the_limit_is_too_large_before_it_is_decoded() -> None:
    with pytest.raises(Malformed) as refusal:
        read_task(received(GOOD), bytes(11), Limits(body_bytes=10))
    assert refusal.value.code is ErrorCode.TOO_LARGE


def test_an_empty_reply_to_is_none_at_all() -> None:
    assert read_task(received({**GOOD, "reply_to": ""}), b"\x80", DEFAULT_LIMITS).reply_to is None


@pytest.mark.parametrize(
    "name", ["type", "message_id", "correlation_id", "reply_to", "content_type", "content_encoding"]
)
def test_a_short_string_that_is_not_utf8_is_refused(name: str) -> None:
    with pytest.raises(Malformed) as refusal:
        read_task(received({**GOOD, name: b"\xff"}), b"\x80", DEFAULT_LIMITS)
    assert refusal.value.code is ErrorCode.BAD_PROPERTIES


def test_a_long_text_in_a_history_is_cut_and_not_refused() -> None:
    entry = {"attempt": 1, "error": "e" * 999, "text": "t" * 9999, "worker": "w" * 999}
    task = read_task(received({**GOOD, "headers": {"v": 1, "history": [entry]}}), b"\x80", DEFAULT_LIMITS)
    [read] = task.history
    assert [len(part.encode()) for part in (read.error, read.text, read.worker)] == [255, 1024, 255]


@given(tasks, attempts)
def test_a_retry_keeps_who_asked_what_and_since_when(task: Task, last: Attempt) -> None:
    copy = task.next_attempt(last, DEFAULT_LIMITS)
    assert copy == replace(task, attempt=task.attempt + 1, history=copy.history)
    assert copy.history[-1] == last


@given(st.integers(2, 12), st.integers(1, 30))
def test_a_history_keeps_its_first_entry_and_the_latest_ones(kept: int, runs: int) -> None:
    limits = Limits(history_entries=kept)
    task = Task(id=ID, name="task_a", body=b"\x80")
    for attempt in range(1, runs + 1):
        last = Attempt(attempt=attempt, error="E", text="", worker="w", started_ms=0, ran_ms=0)
        task = task.next_attempt(last, limits)
    attempts = [entry.attempt for entry in task.history]
    assert attempts[0] == 1
    assert attempts == sorted(set(attempts))
    assert len(attempts) == min(runs, kept)
    assert attempts[1:] == list(range(runs + 2 - len(attempts), runs + 1))


def test_everything_that_a_copy_may_not_carry_is_left_behind() -> None:
    strange = pika.BasicProperties(
        **{**GOOD, "headers": {"v": 1, "CC": ["queue_b"], "BCC": ["x"], "x-death": [{"queue": "q"}], "mine": 1}},
        priority=9,
        user_id="guest",
        expiration="60000",
        cluster_id="c",
    )
    copy = task_properties(read_task(strange, b"\x80", DEFAULT_LIMITS))
    assert copy.headers == {"v": 1}
    assert copy.expiration is None
    assert not hasattr(copy, "priority")
    assert not hasattr(copy, "user_id")


def test_nobody_gets_a_failure_for_a_message_without_an_id_or_with_an_address_that_may_not_be_answered() -> None:
    assert read_requester(received({"message_id": "x", "reply_to": "mailbox.results"})) is None
    assert read_requester(received({"message_id": ID, "reply_to": "queue_a"})) is None
    assert read_requester(received({"message_id": ID, "reply_to": b"mailbox.results"})) is None
    assert read_requester(received({"message_id": ID})) is None


def test_the_requester_is_found_in_a_message_that_is_malformed_otherwise() -> None:
    requester = read_requester(received({"message_id": ID, "reply_to": "mailbox.a", "type": 7, "headers": 5}))
    assert requester is not None
    assert (requester.id, requester.reply_to, requester.attempt) == (ID, "mailbox.a", 1)


@pytest.mark.parametrize("text", ["caf\udce9", "x" * 200_000, "ä\udfff" * 100_000])
def test_whatever_text_an_attempt_ended_with_its_copy_and_its_reply_can_be_sent(text: str) -> None:
    last = Attempt(attempt=1, error=text, text=text, worker="w", started_ms=1, ran_ms=1)
    copy = Task(id=ID, name="task_a", body=b"").next_attempt(last, DEFAULT_LIMITS)
    assert len(content_header(to_pika(task_properties(copy)), b"")) < 2048
    failure = Failure(code="rejected", type=text, text=text)
    assert len(pack_failed(ID, failure, Run(attempts=1, worker="w"), DEFAULT_LIMITS).body) < 4096
