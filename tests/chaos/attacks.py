"""Messages that nobody may ever run. Pure: chance in, a message out.

Each is routed to exactly one queue and ends there as exactly one dead letter with its body untouched. What ends
otherwise is left out: what the broker itself refuses or returns (a false ``user_id``, headers above the frame, a
key that nothing is bound for), and a sound task that only pretends (a forged ``x-death`` with a good body runs; a
missing mailbox gets a letter with the reply). So what is forged comes with a body that cannot be read.
"""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
import pika

from protocol.names import DIRECT_REPLY_TO, TASKS, dead_queue
from tests.support import hostile
from tests.support.hostile import RawTable
from tests.support.vhost import task

_LARGEST = 1024 * 1024
_DEEPEST = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A task that messages are aimed at, and another one that belongs to another queue."""

    task: str
    queue: str
    other_task: str
    other_queue: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """To be published to the exchange ``tasks``."""

    name: str
    routing_key: str
    body: bytes
    properties: pika.BasicProperties


def attack(name: str, victim: Victim, unique: bytes) -> Attack:
    """The attack of a name. ``unique`` becomes a part of its body: no two bodies may be the same."""
    sound = msgpack.packb({"key": "", "unique": unique.hex()})
    if name in BODIES:
        body, properties = BODIES[name](unique), task(victim.task)
    elif name in FORGERIES:
        body, properties = b"\xc1" + unique, task(victim.task, **FORGERIES[name](victim))
    else:
        body, properties = sound, PROPERTIES[name](victim)
    return Attack(name=name, routing_key=victim.task, body=body, properties=properties)


def names(chance: random.Random) -> list[str]:
    """All attacks, once each, in any order."""
    every = [*BODIES, *FORGERIES, *PROPERTIES]
    return chance.sample(every, len(every))


def _packed(value: object) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _nested(depth: int, unique: bytes) -> bytes:
    return b"\x91" * depth + _packed(unique)


#: Bodies that are no arguments of the victim.
BODIES: Mapping[str, Callable[[bytes], bytes]] = {
    "reserved byte": lambda unique: b"\xc1" + unique,
    "cut short": lambda unique: _packed({"key": unique, "end": 0})[:-1],
    "bytes after it": lambda unique: _packed({"key": unique}) + b"\x00",
    "string of 4 GB": lambda unique: b"\xdb\xff\xff\xff\xff" + unique,
    "array of 4 G": lambda unique: b"\xdd\xff\xff\xff\xff" + unique,
    "map of 4 G": lambda unique: b"\xdf\xff\xff\xff\xff" + unique,
    "arrays that claim": lambda unique: b"\xdc\x0f\xff" * 1000 + unique,
    "too deep": lambda unique: _nested(_DEEPEST + 8, unique),
    "far too deep": lambda unique: _nested(100_000, unique),
    "too many values": lambda unique: _packed([0] * 150_000 + [unique]),
    "too large": lambda unique: unique + bytes(_LARGEST),
    "extension": lambda unique: _packed({"key": msgpack.ExtType(5, unique)}),
    "timestamp of year 292e9": lambda unique: b"\x82\xa1u" + _packed(unique) + b"\xa1t\xc7\x0c\xff" + b"\x7f" * 12,
    "key that is a number": lambda unique: _packed({1: unique}),
    "key twice": lambda unique: b"\x82\xa3key\x01\xa3key" + _packed(unique),
    "string that is no text": lambda unique: b"\x82\xa1u" + _packed(unique) + b"\xa3key\xa2\xff\xfe",
    "no map": lambda unique: _packed([unique]),
    "json": lambda unique: json.dumps({"key": unique.hex()}).encode(),
    "pickle": lambda unique: pickle.dumps(unique),
    "no arguments": lambda unique: _packed({"unique": unique}),
    "argument of Python's own": lambda unique: _packed({"key": "", "__class__": unique}),
    "self": lambda unique: _packed({"key": "", "payload": "", "self": unique}),
}

#: Properties and headers that must go no further; the body cannot be read.
FORGERIES: Mapping[str, Callable[[Victim], dict[str, Any]]] = {
    "death": lambda victim: {"headers": {"v": 1, **_death(victim)}},
    "deliveries": lambda _: {"headers": {"v": 1, "x-delivery-count": 10**6, "x-acquired-count": 10**6}},
    "cc": lambda victim: {"headers": {"v": 1, "CC": [victim.other_queue, dead_queue(victim.other_queue)]}},
    "bcc": lambda victim: {"headers": {"v": 1, "BCC": [victim.other_queue, dead_queue(victim.other_queue)]}},
    "reason": lambda victim: {"headers": {"v": 1, "reason": "expired", "queue": victim.other_queue, "died": 1}},
    "expiration": lambda _: {"expiration": "100000"},
    "priority": lambda _: {"priority": 255},
    "transient": lambda _: {"delivery_mode": 1},
    "stranger's names": lambda _: {"app_id": "x" * 255, "cluster_id": "y" * 255},
    "100 kB of headers": lambda _: {"headers": {"v": 1, "traceparent": "x" * 100_000}},
}


def _death(victim: Victim) -> dict[str, Any]:
    death = {"queue": victim.queue, "reason": "delivery_limit", "count": 1, "exchange": TASKS}
    return {
        "x-death": [death],
        "x-first-death-queue": victim.queue,
        "x-first-death-reason": "expired",
        "x-first-death-exchange": TASKS,
    }


def _headers(**changes: Any) -> Callable[[Victim], pika.BasicProperties]:
    return lambda victim: task(victim.task, headers={"v": 1, **changes})


def _fields(**changes: Any) -> Callable[[Victim], pika.BasicProperties]:
    return lambda victim: task(**{"name": victim.task, **changes})


def _table(table: bytes) -> Callable[[Victim], pika.BasicProperties]:
    return lambda victim: RawTable(table, type=victim.task, delivery_mode=2)


#: Properties that are refused whatever the body is; the body could be read.
PROPERTIES: Mapping[str, Callable[[Victim], pika.BasicProperties]] = {
    "no version": _fields(headers={}),
    "next version": _headers(v=2),
    "version as text": _headers(v="1"),
    "batch": _headers(batch=3),
    "attempt -1": _headers(attempt=-1),
    "attempt 2^40": _headers(attempt=2**40),
    "attempt as text": _headers(attempt="first"),
    "history of 1000": _headers(history=[{"attempt": 1, "error": "E"}] * 1000),
    "history of numbers": _headers(history=[1, 2, 3]),
    "history that is no text": _headers(history=[{"error": b"\xff\xfe"}]),
    "year 9999": _headers(expires_at=253_402_300_799_000),
    "no id": _fields(message_id=None),
    "id that is none": _fields(message_id="x" * 255),
    "id that is no text": _fields(message_id=b"\xff\xfe"),
    "another correlation": _fields(correlation_id="f" * 32),
    "correlation that is no text": _fields(correlation_id=b"\xff\xfe"),
    "gzip": _fields(content_encoding="gzip"),
    "content type pickle": _fields(content_type="application/x-python-serialize"),
    "no type": _fields(type=None),
    "type os.system": _fields(type="os.system"),
    "type __class__": _fields(type="__class__"),
    "type ../x": _fields(type="../x"),
    "type of two lines": _fields(type="chaos.ok\n\x1b[2Jdone"),
    "type that is no text": _fields(type=b"\xff\xfe"),
    "wrong queue": lambda victim: task(victim.other_task),
    "reply to a queue": lambda victim: task(victim.task, reply_to=victim.other_queue),
    "reply to dead letters": lambda victim: task(victim.task, reply_to=dead_queue(victim.queue)),
    "reply to nowhere": _fields(reply_to="x" * 255),
    "reply to no text": _fields(reply_to=b"\xff\xfe"),
    "address of junk": _fields(reply_to=f"{DIRECT_REPLY_TO}.junk"),
    "address cut short": _fields(reply_to=hostile.CUT_ADDRESS),
    "timestamp 2^62": _fields(timestamp=2**62),
    "header timestamp 2^62": _table(hostile.header_timestamp(2**62)),
    "1500 nested tables": _table(hostile.nested_tables(1500)),
    "header that is no text": _table(hostile.header_key(b"\xff\xfe")),
}
