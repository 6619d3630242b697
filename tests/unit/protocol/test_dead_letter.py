from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.dead_letter import letter_properties, reason_of, salvage
from protocol.errors import ErrorCode
from protocol.limits import DEFAULT_LIMITS
from protocol.properties import Properties
from tests.contract.checks import content_header, decoded_header, received
from tests.support.as_pika import to_pika
from tests.unit.protocol.test_task import fields, known, properties

EXCHANGES = ["tasks", "tasks.dead", "tasks.killed", "tasks.due", "tasks.lost", "replies", ""]


@given(
    st.sampled_from(EXCHANGES),
    st.text(max_size=9),
    st.none() | st.dictionaries(st.sampled_from(["reason", "text", "queue", "x-death"]), fields),
)
def test_any_letter_has_a_reason(exchange: str, key: str, headers: dict[str, Any] | None) -> None:
    verdict = reason_of(exchange, key, headers)
    assert all(isinstance(part, str) for part in (verdict.code, verdict.text, verdict.queue))
    assert verdict.code


@given(
    st.sampled_from(["expired", "delivery_limit", "rejected"]),
    st.lists(st.sampled_from(["tasks.delay.00", "queue_b"]), max_size=3),
    st.integers(0, 3),
)
def test_the_death_in_the_letter_s_own_queue_counts_wherever_it_stands(
    reason: str, others: list[str], at: int
) -> None:
    deaths = [{"queue": queue, "reason": "maxlen"} for queue in others]
    deaths.insert(at, {"queue": "queue_a", "reason": reason})
    assert reason_of("tasks.killed", "queue_a", {"x-death": deaths}).code == ErrorCode(reason)


def test_of_two_deaths_in_the_same_queue_the_newer_one_counts() -> None:
    deaths = [{"queue": "queue_a", "reason": "expired"}, {"queue": "queue_a", "reason": "delivery_limit"}]
    assert reason_of("tasks.killed", "queue_a", {"x-death": deaths}).code == ErrorCode.EXPIRED


def test_a_worker_s_reason_on_a_letter_of_the_broker_is_not_believed() -> None:
    forged = {"reason": "rejected", "text": "forged", "queue": "queue_z"}
    assert reason_of("tasks.killed", "queue_a", forged).code == "unknown"
    assert reason_of("tasks.killed", "queue_a", forged).queue == "queue_a"
    assert reason_of("tasks.due", "0.1.task_a", forged).code == ErrorCode.UNKNOWN_TASK


def test_a_letter_says_who_buried_it_where_when_and_why() -> None:
    letter = letter_properties(
        Properties(type="task_a", expiration="5", headers={"v": 1}),
        code="rejected",
        text="x" * 2000,
        queue="queue_a",
        worker="w:1",
        died_ms=7,
        limits=DEFAULT_LIMITS,
    )
    text = letter.headers.pop("text")
    assert isinstance(text, str)
    assert len(text.encode()) <= 1024
    assert letter.headers == {"v": 1, "reason": "rejected", "queue": "queue_a", "worker": "w:1", "died": 7}
    assert letter.expiration is None


def test_the_original_s_headers_are_not_changed_by_its_letter() -> None:
    original = Properties(headers={"v": 1})
    letter_properties(original, code="c", text="t", queue="q", worker="w", died_ms=0, limits=DEFAULT_LIMITS)
    assert original.headers == {"v": 1}


@given(st.dictionaries(known, fields), st.dictionaries(properties, fields))
def test_whatever_a_message_carried_its_letter_can_be_published(
    headers: dict[str, Any], odd: dict[str, Any]
) -> None:
    sound = salvage(received({"headers": headers, **odd}))
    letter = letter_properties(
        sound, code="bad_properties", text="t", queue="q", worker="w", died_ms=0, limits=DEFAULT_LIMITS
    )
    header = content_header(to_pika(letter), b"")
    assert len(header) < 4096
    decoded_header(header)


@pytest.mark.parametrize("value", ["x" * 256, "ä" * 128, "", b"\xff", 7, None, ["x"]])
def test_a_property_that_is_no_short_string_is_left_out(value: object) -> None:
    sound = salvage(received({"message_id": value, "type": "task_a"}))
    assert sound.message_id is None
    assert sound.type == "task_a"


def test_a_reply_address_that_the_broker_would_rewrite_or_refuse_is_not_put_on_a_letter() -> None:
    """Publishing it makes the broker close the channel (406): this channel consumes no direct replies."""
    assert salvage(received({"reply_to": "amq.rabbitmq.reply-to"})).reply_to is None
