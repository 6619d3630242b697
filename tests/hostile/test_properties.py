"""Properties as bytes against what reads them: refused, or a task that can be written again; nothing else.

The bytes go the way that they go in a worker: the frame reader of ``broker.amqp.pika_connection``, then admission.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.amqp.pika_connection import BrokenProperties, read_frame
from protocol.dead_letter import letter_properties, salvage
from protocol.errors import Malformed
from protocol.limits import DEFAULT_LIMITS
from protocol.reply import Failure, Run, pack_failed, read_replies
from protocol.task import Task, read_requester, read_task, task_properties
from tests.contract.checks import TASKS, content_header, decoded_header
from tests.contract.vectors import octets, section, title
from tests.support.as_pika import to_pika
from tests.support.hostile_socket import HEADER
from tests.unit.protocol.test_task import tasks
from worker.intake.admission import admit

BODY = b"\x80"
#: What the largest frame leaves for properties.
FRAME_BYTES = 131_064


def framed(payload: bytes) -> bytes:
    return struct.pack(">BHI", HEADER, 1, len(payload)) + payload + b"\xce"


def read(payload: bytes) -> Any:
    """The properties as a connection of ours hands them over."""
    consumed, header = read_frame(framed(payload))
    assert consumed == len(payload) + 8
    return header.properties


def admitted(payload: bytes) -> Task | None:
    """The task that these properties make, or None if they are refused; then their dead letter can be sent, and
    whoever can be told gets a reply that can be read."""
    properties = read(payload)
    try:
        task = admit(properties, BODY, "queue_a", TASKS, DEFAULT_LIMITS)
    except Malformed as refusal:
        letter = letter_properties(
            salvage(properties),
            code=refusal.code,
            text=refusal.text,
            queue="queue_a",
            worker="w",
            died_ms=1,
            limits=DEFAULT_LIMITS,
        )
        assert len(content_header(to_pika(letter), BODY)) < FRAME_BYTES
        requester = read_requester(properties)
        if requester is not None:
            failure = Failure(code=refusal.code, type=refusal.code, text=refusal.text)
            run = Run(attempts=requester.attempt, worker="w")
            assert read_replies(pack_failed(requester.id, failure, run, DEFAULT_LIMITS).body, DEFAULT_LIMITS)
        return None
    assert not isinstance(properties, BrokenProperties)
    # Its copy, and a dead letter of it, say the same.
    again = decoded_header(content_header(to_pika(task_properties(task)), BODY))
    assert read_task(again, BODY, DEFAULT_LIMITS) == task
    return task


def flipped(raw: bytes, start: int) -> Iterator[bytes]:
    for at in range(start, len(raw)):
        for bit in range(8):
            yield raw[:at] + bytes((raw[at] ^ 1 << bit,)) + raw[at + 1 :]


VECTORS = [
    pytest.param(octets(vector["header"]), id=f"{kind}: {title(vector)}")
    for kind in ("tasks", "tasks_refused")
    for vector in section(kind)
    if len(octets(vector["header"])) <= 1500
]
#: Class, weight and body size: the properties begin behind them.
FLAGS_AT = 12


@pytest.mark.parametrize("payload", VECTORS)
def test_properties_with_any_bit_flipped_are_refused_or_make_a_task(payload: bytes) -> None:
    for other in flipped(payload, FLAGS_AT):
        admitted(other)


@pytest.mark.parametrize("vector", section("tasks"), ids=title)
def test_properties_that_are_cut_anywhere_are_refused_or_make_the_same_task(vector: Any) -> None:
    """What may be cut without harm is the name of the application, which stands last."""
    payload = octets(vector["header"])
    whole = admitted(payload)
    assert whole is not None
    for size in range(FLAGS_AT + 2, len(payload)):
        assert admitted(payload[:size]) in (None, whole)


@given(tasks, st.data())
def test_any_task_s_properties_cut_or_with_a_bit_flipped_are_refused_or_make_a_task(task: Task, data: Any) -> None:
    payload = content_header(to_pika(task_properties(task)), BODY)
    at, bit = data.draw(st.integers(FLAGS_AT, len(payload) - 1)), data.draw(st.integers(0, 7))
    admitted(payload[:at] + bytes((payload[at] ^ 1 << bit,)) + payload[at + 1 :])
    admitted(payload[: data.draw(st.integers(FLAGS_AT + 2, len(payload)))])


@given(st.binary(min_size=2, max_size=200))
def test_any_bytes_in_the_place_of_properties_are_refused_or_make_a_task(rest: bytes) -> None:
    admitted(bytes.fromhex("003c0000") + bytes(8) + rest)
