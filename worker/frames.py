"""What a worker and its child say to each other: msgpack behind a four-byte length, on a socket pair."""

from __future__ import annotations

import struct
from typing import Any, assert_never

import msgpack

from protocol.errors import ErrorCode
from worker.context import Current
from worker.handler import Call
from worker.outcome import Done, Failed, Outcome, Rejected, RetryAsked

HEAD = struct.Struct(">I")


def pack(value: object) -> bytes:
    body: bytes = msgpack.packb(value)
    return HEAD.pack(len(body)) + body


def unpack(body: bytes) -> Any:
    return msgpack.unpackb(body)


def from_call(call: Call) -> list[object]:
    context = call.context
    return [
        context.id,
        context.task,
        context.queue,
        context.attempt,
        context.max_attempts,
        call.body,
        call.timeout_s,
    ]


def to_call(fields: list[Any]) -> Call:
    task_id, task, queue, attempt, max_attempts, body, timeout_s = fields
    context = Current(id=task_id, task=task, queue=queue, attempt=attempt, max_attempts=max_attempts)
    return Call(context, body, timeout_s)


def from_outcome(outcome: Outcome) -> list[object]:
    match outcome:
        case Done():
            return ["done", outcome.result]
        case Failed():
            return ["failed", outcome.code, outcome.type, outcome.text]
        case RetryAsked():
            return ["retry", outcome.after_s, outcome.text]
        case Rejected():
            return ["rejected", outcome.code, outcome.type, outcome.text]
        case _:
            assert_never(outcome)


def to_outcome(fields: list[Any]) -> Outcome:
    match fields:
        case ["done", result]:
            return Done(result)
        case ["failed", code, kind, text]:
            return Failed(ErrorCode(code), kind, text)
        case ["retry", after_s, text]:
            return RetryAsked(after_s, text)
        case ["rejected", code, kind, text]:
            return Rejected(ErrorCode(code), kind, text)
        case _:
            raise ValueError(f"no outcome: {fields!r}")
