"""Lists of properties that are alike are read as if each had come alone, and none is taken for another."""

from __future__ import annotations

import copy
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import spec

from broker.amqp.decoding import read_properties
from broker.amqp.pika_errors import fields_by_pika
from broker.amqp.property_cache import LEARNT_EACH, MOST_PLACES, Shape, Shaped, Shapes
from broker.config.settings import TaskSettings
from protocol.errors import Malformed
from protocol.limits import DEFAULT_LIMITS
from protocol.properties import Properties
from protocol.task import Task, task_properties
from tests.support.as_pika import to_pika
from worker.intake.admission import Admission, admit

ID, OTHER_ID = "0f8fad5bd9cb469fa16570867728950e", "f" * 32
MAILBOX = "mailbox.results"
TASKS = {"task_a": TaskSettings(queue="queue_a", handler="worker.tasks:noop")}


def encoded(properties: Properties) -> tuple[int, bytes]:
    """Flags and list, as they are on the wire."""
    raw = b"".join(to_pika(properties).encode())
    return int.from_bytes(raw[:2]), raw[2:]


def request(task_id: str = ID, sent_at: int = 1764000000123, **changed: Any) -> Properties:
    task = Task(
        id=task_id, name="task_a", body=b"", reply_to=MAILBOX, sent_at=sent_at, **{"timestamp": 5, **changed}
    )
    return task_properties(task)


def knowing(*lists: Properties) -> Shapes:
    """Shapes that were taught these."""
    shapes = Shapes()
    for properties in lists:
        for _ in range(LEARNT_EACH):
            shapes.learn(*encoded(properties))
    return shapes


def found(shapes: Shapes, properties: Properties) -> Shape | None:
    return shapes.find(*encoded(properties))


def alike(properties: Properties) -> Shaped:
    """As a connection hands it over that has had its like before."""
    flags, raw = encoded(properties)
    shape = knowing(properties).find(flags, raw)
    assert shape is not None
    return Shaped(shape, flags, raw)


def test_requests_that_differ_in_ids_and_times_are_alike() -> None:
    shapes = knowing(request())
    shape = found(shapes, request(OTHER_ID, 1764000000999, timestamp=6))
    assert shape is found(shapes, request())
    assert shape is not None
    assert shape.varying == ("headers.sent_at", "correlation_id", "message_id", "timestamp")


@pytest.mark.parametrize(
    "other",
    [
        request(resent=1),
        request(attempt=2),
        request(batch=3),
        request(expires_at=1764000000999),
        request(trace={"traceparent": "00-x"}),
        request(timestamp=0),
        request("f" * 31),
        Properties(type="task_b", message_id=ID, headers={"v": 1}),
    ],
)
def test_requests_that_differ_in_anything_else_are_not_alike(other: Properties) -> None:
    assert found(knowing(request()), other) is None
    both = knowing(request(), other)
    assert found(both, request()) is not found(both, other)


def test_not_every_new_kind_costs_the_time_to_learn_it() -> None:
    shapes = Shapes()
    for _ in range(LEARNT_EACH - 1):
        shapes.learn(*encoded(request()))
    assert found(shapes, request()) is None
    shapes.learn(*encoded(request()))
    assert found(shapes, request()) is not None


def table(*fields: tuple[bytes, int]) -> tuple[int, bytes]:
    """Flags and list of headers with these keys and 64-bit numbers."""
    raw = b"".join(bytes((len(key),)) + key + b"l" + struct.pack(">q", number) for key, number in fields)
    return 1 << 13, struct.pack(">L", len(raw)) + raw


@pytest.mark.parametrize(
    "fields",
    [
        [(b"sent_at", 1), (b"sent_at", 2)],
        [(b"k%d" % number, number) for number in range(MOST_PLACES + 1)],
        [(b"x" * 200 + b"%d" % number, number) for number in range(5)],
    ],
    ids=["a header twice", "many places", "long"],
)
def test_lists_that_nobody_sends_again_and_again_are_not_learnt(fields: list[tuple[bytes, int]]) -> None:
    shapes, (flags, raw) = Shapes(), table(*fields)
    assert read_properties(raw, 0, len(raw), flags) is not None
    for _ in range(LEARNT_EACH):
        shapes.learn(flags, raw)
    assert shapes.find(flags, raw) is None


def test_fields_are_read_when_they_are_asked_for() -> None:
    properties = alike(request(OTHER_ID))
    assert (properties.type, properties.message_id, properties.correlation_id) == ("task_a", OTHER_ID, OTHER_ID)
    assert (properties.reply_to, properties.priority) == (MAILBOX, None)
    assert properties.headers == {"v": 1, "sent_at": 1764000000123}
    with pytest.raises(AttributeError):
        _ = properties.nothing_of_amqp


def test_a_copy_can_be_changed_before_and_after_its_fields_are_read() -> None:
    properties: Any = alike(request())
    early = copy.copy(properties)
    early.reply_to = None
    early.content_type = "text/plain"
    assert (early.type, early.reply_to, properties.reply_to) == ("task_a", None, MAILBOX)
    assert (early.content_type, properties.content_type) == ("text/plain", "application/msgpack")
    late = copy.copy(properties)
    late.reply_to = None
    assert (late.type, late.reply_to, properties.reply_to) == ("task_a", None, MAILBOX)


def test_an_id_that_is_not_utf8_is_bytes_as_it_is_to_pika() -> None:
    flags, raw = encoded(request())
    odd = raw.replace(ID.encode(), b"\xff" * 32)
    shape = knowing(request()).find(flags, odd)
    assert shape is not None
    assert Shaped(shape, flags, odd).message_id == b"\xff" * 32
    with pytest.raises(Malformed, match="message_id"):
        Admission(TASKS, DEFAULT_LIMITS, "direct").admit(Shaped(shape, flags, odd), b"\x80", "queue_a")


values = st.none() | st.text(max_size=8) | st.sampled_from([ID, OTHER_ID])
headers = st.dictionaries(
    st.sampled_from(["v", "sent_at", "attempt", "x"]),
    st.integers(-(2**63), 2**63 - 1) | st.text(max_size=4) | st.sampled_from([1, 1764000000123]),
    max_size=3,
)
lists = st.builds(
    Properties,
    type=values,
    message_id=values,
    correlation_id=values,
    timestamp=st.none() | st.integers(0, 2**64 - 1),
    headers=headers,
)


@given(st.lists(lists, min_size=1, max_size=8))
def test_whatever_was_seen_before_each_list_is_read_as_pika_reads_it(several: list[Properties]) -> None:
    shapes = knowing(*several)
    for properties in several:
        flags, raw = encoded(properties)
        shape = shapes.find(flags, raw)
        if shape is None:
            continue  # Another of its size was learnt after it.
        by_pika = fields_by_pika(flags, raw)
        assert {name: getattr(Shaped(shape, flags, raw), name) for name in by_pika} == by_pika


ids = st.sampled_from([ID, OTHER_ID, "F" * 32, "0" * 31 + "g"])


@given(
    ids, ids, st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1), st.sampled_from(["queue_a", "queue_b"])
)
def test_a_task_is_admitted_or_refused_the_same_with_its_like_before_it_and_without(
    message_id: str, correlation_id: str, timestamp: int, sent_at: int, queue: str
) -> None:
    flags, first = encoded(request())
    raw = (
        first.replace(ID.encode(), b"*" * 32, 1)
        .replace(ID.encode(), message_id.encode())
        .replace(b"*" * 32, correlation_id.encode())
        .replace(struct.pack(">q", 1764000000123), struct.pack(">q", sent_at))
        .replace(struct.pack(">Q", 5), struct.pack(">Q", timestamp))
    )
    shape = knowing(request()).find(flags, raw)
    assert shape is not None
    admission = Admission(TASKS, DEFAULT_LIMITS, "direct")
    admission.admit(Shaped(shape, flags, first), b"\x80", "queue_a")
    alone = spec.BasicProperties()
    vars(alone).update(read_properties(raw, 0, len(raw), flags) or {})
    assert _verdict(lambda: admission.admit(Shaped(shape, flags, raw), b"\x81", queue)) == _verdict(
        lambda: admit(alone, b"\x81", queue, TASKS, DEFAULT_LIMITS)
    )


def test_a_body_that_is_too_large_is_refused_however_often_its_like_came() -> None:
    admission, properties = Admission(TASKS, DEFAULT_LIMITS, "direct"), alike(request())
    admission.admit(properties, b"\x80", "queue_a")
    with pytest.raises(Malformed, match="the limit is"):
        admission.admit(properties, bytes(DEFAULT_LIMITS.body_bytes + 1), "queue_a")


def _verdict(admitted: Any) -> Any:
    try:
        return admitted()
    except Malformed as refusal:
        return refusal.code
