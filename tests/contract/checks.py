"""What it means that this implementation agrees with a vector: one function for each kind of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import pika
import pytest
from pika import frame, spec

from broker.config.settings import TaskSettings
from protocol import control, watching
from protocol.batch import pack_batch, read_batch
from protocol.codec import Encoder, decode, decode_arguments, encode
from protocol.dead_letter import letter_properties, reason_of, salvage
from protocol.delay import enter, level_key, ttl_ms
from protocol.errors import Malformed
from protocol.limits import DEFAULT_LIMITS
from protocol.names import delay_level, mailbox_of
from protocol.properties import Properties, ReceivedProperties
from protocol.reply import Failure, Reply, Run, Unreadable, pack_done, pack_failed, read_replies
from protocol.reply_address import ReplyKind, is_direct_address, reply_kind
from protocol.task import Attempt, Requester, Task, read_requester, read_task, task_properties
from tests.contract.vectors import Vector, octets, same, value_of
from tests.support.as_pika import to_pika
from worker.intake.admission import admit

TASKS = {
    name: TaskSettings(queue="queue_a", handler="worker.tasks:noop")
    for name in ("task_a", "reports.daily_2", "reports.daily")
}


def received(written: dict[str, Any]) -> ReceivedProperties:
    """Properties as they arrive; what is not written is absent."""
    names = ("content_type", "content_encoding", "type", "message_id", "correlation_id", "reply_to", "timestamp")
    absent: dict[str, Any] = dict.fromkeys((*names, "headers"))
    return SimpleNamespace(**absent | written)


def published(properties: Properties) -> dict[str, Any]:
    """Properties as they are published: those that are present, as the vectors write them."""
    present = {key: value for key, value in asdict(properties).items() if value not in (None, {})}
    return {**present, "delivery_mode": 2}


def content_header(properties: pika.BasicProperties, body: bytes) -> bytes:
    """The payload of an AMQP content header frame."""
    marshalled: bytes = frame.Header(1, len(body), properties).marshal()
    return marshalled[spec.FRAME_HEADER_SIZE : -spec.FRAME_END_SIZE]


def decoded_header(payload: bytes) -> pika.BasicProperties:
    properties: pika.BasicProperties = spec.BasicProperties().decode(payload[12:])
    return properties


def present(properties: pika.BasicProperties) -> dict[str, Any]:
    return {key: value for key, value in vars(properties).items() if value is not None}


def body(vector: Vector) -> None:
    """The bytes decode to the value; where they are the shortest form, the value encodes to the bytes."""
    raw, value = octets(vector["body"]), value_of(vector["value"])
    assert same(decode(raw, DEFAULT_LIMITS), value)
    assert same(decode(encode(value, DEFAULT_LIMITS), DEFAULT_LIMITS), value)
    if vector["shortest"]:
        assert encode(value, DEFAULT_LIMITS) == raw


def carried(vector: Vector) -> None:
    """What is given leaves as these bytes, as a result or within arguments, and a receiver gets the value."""
    given, raw = value_of(vector["given"]), octets(vector["body"])
    assert encode(given, DEFAULT_LIMITS) == raw
    assert same(decode(raw, DEFAULT_LIMITS), vector["value"])
    arguments = Encoder(DEFAULT_LIMITS).arguments({"a": given})
    assert same(decode_arguments(arguments, DEFAULT_LIMITS), {"a": vector["value"]})


def refused_body(vector: Vector) -> None:
    with pytest.raises(Malformed) as refusal:
        decode(octets(vector["body"]), DEFAULT_LIMITS)
    assert refusal.value.code == vector["code"]


def refused_arguments(vector: Vector) -> None:
    raw = octets(vector["body"])
    decode(raw, DEFAULT_LIMITS)
    with pytest.raises(Malformed) as refusal:
        decode_arguments(raw, DEFAULT_LIMITS)
    assert refusal.value.code == vector["code"]


def task_of(written: dict[str, Any], raw: bytes) -> Task:
    history = tuple(Attempt(**entry) for entry in written["history"])
    return Task(body=raw, **{**written, "history": history})


def task(vector: Vector) -> None:
    """Header bytes, properties and the task say the same, each way."""
    raw, header = octets(vector["body"]), octets(vector["header"])
    properties, expected = vector["properties"], task_of(vector["task"], octets(vector["body"]))
    decoded = decoded_header(header)
    assert present(decoded) == properties
    assert read_task(decoded, raw, DEFAULT_LIMITS) == expected
    assert admit(decoded, raw, "queue_a", TASKS, DEFAULT_LIMITS) == expected
    if vector["canonical"]:
        expiration = properties.get("expiration")
        ours = task_properties(expected, expiration_ms=None if expiration is None else int(expiration))
        assert published(ours) == properties
        assert content_header(to_pika(ours), raw) == header


def refused_task(vector: Vector) -> None:
    """A worker refuses the message with the code, and knows whom it may tell."""
    properties = decoded_header(octets(vector["header"]))
    assert present(properties) == vector["properties"]
    with pytest.raises(Malformed) as refusal:
        admit(properties, octets(vector["body"]), vector["queue"], TASKS, DEFAULT_LIMITS)
    assert refusal.value.code == vector["code"]
    told = vector["told"]
    assert read_requester(properties) == (None if told is None else Requester(**told))


def batch(vector: Vector) -> None:
    """The body holds these ids, each with these bytes of arguments."""
    raw = octets(vector["body"])
    entries = [(task_id, octets(arguments)) for task_id, arguments in vector["entries"]]
    assert read_batch(raw, vector["count"], DEFAULT_LIMITS) == entries
    if vector["canonical"]:
        assert pack_batch(entries) == raw


def refused_batch(vector: Vector) -> None:
    with pytest.raises(Malformed) as refusal:
        read_batch(octets(vector["body"]), vector["count"], DEFAULT_LIMITS)
    assert refusal.value.code == vector["code"]


def _attempt(written: dict[str, Any]) -> Attempt:
    return Attempt(**{"started_ms" if key == "started" else key: value for key, value in written.items()})


def copy(vector: Vector) -> None:
    """A retry's copy of a message carries this and nothing else."""
    original = read_task(received(vector["received"]), b"\x80", DEFAULT_LIMITS)
    again = original.next_attempt(_attempt(vector["failed"]), DEFAULT_LIMITS)
    assert published(task_properties(again)) == vector["published"]


def _letter(vector: Vector, original: Properties) -> dict[str, Any]:
    return published(
        letter_properties(
            original,
            code=vector["code"],
            text=vector["text"],
            queue=vector["queue"],
            worker=vector["worker"],
            died_ms=vector["died"],
            limits=DEFAULT_LIMITS,
        )
    )


def dead(vector: Vector) -> None:
    """The dead letter of a task."""
    original = read_task(received(vector["received"]), b"\x80", DEFAULT_LIMITS)
    history = original.history_with(_attempt(vector["failed"]), DEFAULT_LIMITS)
    assert _letter(vector, task_properties(replace(original, history=history))) == vector["published"]


def dead_unread(vector: Vector) -> None:
    """The dead letter of a message that was not understood."""
    assert _letter(vector, salvage(received(vector["received"]))) == vector["published"]


def reply(vector: Vector) -> None:
    """The body holds the reply; what we write ourselves is these bytes, and these properties."""
    raw, written = octets(vector["body"]), vector["reply"]
    run = Run(**written["run"])
    failure = None if written["failure"] is None else Failure(**written["failure"])
    expected = Reply(id=written["id"], run=run, result=written["result"], failure=failure)
    assert read_replies(raw, DEFAULT_LIMITS) == [expected]
    if vector["canonical"]:
        if failure is None:
            packed = pack_done(expected.id, encode(expected.result, DEFAULT_LIMITS), run)
        else:
            packed = pack_failed(expected.id, failure, run, DEFAULT_LIMITS)
        assert packed.body == raw
        assert published(packed.properties) == {
            "type": vector["type"],
            "correlation_id": vector["correlation_id"],
            "content_type": "application/msgpack",
            "app_id": "glassrabbit",
            "delivery_mode": 2,
        }


def refused_reply(vector: Vector) -> None:
    [refused] = read_replies(octets(vector["body"]), DEFAULT_LIMITS)
    assert isinstance(refused, Unreadable)


def letter(vector: Vector) -> None:
    """Whoever made the dead letter, its reason is read the same way."""
    assert asdict(reason_of(vector["exchange"], vector["routing_key"], vector["headers"])) == vector["why"]


def direct_address(vector: Vector) -> None:
    assert is_direct_address(vector["address"])
    assert reply_kind(vector["address"]) is ReplyKind.DIRECT


def mailbox_address(vector: Vector) -> None:
    assert mailbox_of(vector["address"]) == vector["mailbox"]
    assert reply_kind(vector["address"]) is ReplyKind.MAILBOX


def refused_address(vector: Vector) -> None:
    assert not is_direct_address(vector["address"])
    assert reply_kind(vector["address"]) is None


def delay(vector: Vector) -> None:
    """The way into the line, the queues on it, and the time that they add up to."""
    hop = enter(vector["seconds"], vector["task"])
    assert hop.exchange == vector["exchange"]
    assert hop.routing_key == vector["routing_key"]
    assert hop.delay_ms == vector["waits_ms"]
    words = hop.routing_key.split(".")
    waits = [level for level in reversed(range(20)) if words[len(level_key(level, 1).split(".")) - 2] == "1"]
    assert [delay_level(level) for level in waits] == vector["waits_in"]
    assert sum(map(ttl_ms, waits)) == vector["waits_ms"]


def refused_delay(seconds: Any) -> None:
    with pytest.raises(ValueError, match="29 h"):
        enter(value_of(seconds), "task_a")


def record(vector: Vector) -> None:
    """What stands in the control stream, both ways, and by which exchange it comes."""
    found = control.read(vector["exchange"], octets(vector["body"]))
    assert {key: list(part) if isinstance(part, tuple) else part for key, part in asdict(found).items()} == vector[
        "record"
    ]
    assert control.pack(found) == octets(vector["body"])
    assert control.properties_of(found).type == vector["kind"]
    assert control.exchange_of(found) == vector["exchange"]


def refused_record(vector: Vector) -> None:
    with pytest.raises(Malformed) as refused:
        control.read(vector["exchange"], octets(vector["body"]))
    assert refused.value.code == vector["code"]


def answer(vector: Vector) -> None:
    """What a worker says that it runs."""
    found = control.read_answer(octets(vector["body"]))
    assert {**asdict(found), "tasks": [asdict(one) for one in found.tasks]} == vector["answer"]
    assert control.pack_answer(found) == octets(vector["body"])


def event(vector: Vector) -> None:
    """What a worker reports to who watches."""
    found = watching.read_event(octets(vector["body"]))
    assert {**asdict(found), "ids": list(found.ids)} == vector["event"]
    assert watching.pack_event(found) == octets(vector["body"])


def refused_event(vector: Vector) -> None:
    with pytest.raises(Malformed) as refused:
        watching.read_event(octets(vector["body"]))
    assert refused.value.code == vector["code"]


#: Section of ``vectors.json`` → what it means to agree with it.
CHECKS: dict[str, Callable[[Any], None]] = {
    "bodies": body,
    "bodies_refused": refused_body,
    "arguments_refused": refused_arguments,
    "values": carried,
    "tasks": task,
    "tasks_refused": refused_task,
    "batches": batch,
    "batches_refused": refused_batch,
    "copies": copy,
    "dead": dead,
    "dead_unread": dead_unread,
    "replies": reply,
    "replies_refused": refused_reply,
    "letters": letter,
    "direct_addresses": direct_address,
    "mailbox_addresses": mailbox_address,
    "addresses_refused": refused_address,
    "delays": delay,
    "delays_refused": refused_delay,
    "control": record,
    "control_refused": refused_record,
    "answers": answer,
    "events": event,
    "events_refused": refused_event,
}
