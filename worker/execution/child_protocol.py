"""What a worker and its child say to each other, in msgpack.

To the child: a length of four bytes, then ``[number, handler, task, queue, max_attempts, calls]`` for calls that
belong together; ``number`` is that of the first of them, the others follow. Beside it, on a socket of its own, the
number of each call as a *permit* of four bytes: the child takes the permit of a call before it begins the call,
and what the worker takes back of them was not begun and never will be. Back come arrays of outcomes, each with
the number of its call behind it, in the order in which the calls were begun.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, assert_never

import msgpack

from protocol.errors import ErrorCode
from worker.context import Current
from worker.execution.handler import Call
from worker.execution.outcome import Done, Failed, Outcome, Rejected, RetryAsked

HEAD = struct.Struct(">I")
PERMIT = struct.Struct(">I")
#: Call numbers start again from 0 after so many.
NUMBERS = 1 << 32


class Garbled(Exception):
    """What came from a child is no answer."""


def pack(value: object) -> bytes:
    body: bytes = msgpack.packb(value)
    return HEAD.pack(len(body)) + body


def unpack(body: bytes) -> Any:
    return msgpack.unpackb(body)


def from_calls(number: int, calls: Sequence[Call]) -> list[object]:
    """``calls`` are of one handler."""
    context, handler = calls[0].context, calls[0].handler
    assert all(call.handler == handler for call in calls)
    rows = [[call.context.id, call.context.attempt, call.timeout_s, call.expires_at, call.body] for call in calls]
    return [number, handler, context.task, context.queue, context.max_attempts, rows]


def to_calls(fields: list[Any]) -> list[tuple[int, Call]]:
    """Calls with their numbers. Who runs them answers by the frame; nobody is called back."""
    number, handler, task, queue, max_attempts, rows = fields
    return [
        (
            (number + position) % NUMBERS,
            Call(
                Current(id=task_id, task=task, queue=queue, attempt=attempt, max_attempts=max_attempts),
                handler,
                body,
                timeout_s,
                expires_at,
                _nobody,
            ),
        )
        for position, (task_id, attempt, timeout_s, expires_at, body) in enumerate(rows)
    ]


def _nobody(_outcome: Outcome | None, _ran_s: float) -> None:
    return


def from_outcome(outcome: Outcome, ran_s: float) -> list[object]:
    match outcome:
        case Done():
            return ["done", ran_s, outcome.result]
        case Failed():
            return ["failed", ran_s, outcome.code, outcome.type, outcome.text]
        case RetryAsked():
            return ["retry", ran_s, outcome.after_s, outcome.text]
        case Rejected():
            return ["rejected", ran_s, outcome.code, outcome.type, outcome.text]
        case _:
            assert_never(outcome)


def answers(unpacker: msgpack.Unpacker, data: bytes) -> Iterator[list[Any]]:
    """The arrays that are complete with this data. Raises ``Garbled`` behind the last of them."""
    try:
        unpacker.feed(data)
        for answer in unpacker:
            if type(answer) is not list or not answer:
                raise Garbled
            yield answer
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise Garbled from error


def to_outcome(fields: Any) -> tuple[Outcome, float, int]:
    """How a call ended, how many seconds it ran, and its number. Raises ``Garbled``."""
    try:
        match fields:
            case ["done", float(ran_s), bytes(result), int(number)]:
                return Done(result), ran_s, number
            case ["failed", float(ran_s), str(code), str(kind), str(text), int(number)]:
                return Failed(ErrorCode(code), kind, text), ran_s, number
            case ["retry", float(ran_s), float() | None as after_s, str(text), int(number)]:
                return RetryAsked(after_s, text), ran_s, number
            case ["rejected", float(ran_s), str(code), str(kind), str(text), int(number)]:
                return Rejected(ErrorCode(code), kind, text), ran_s, number
    except ValueError as error:
        raise Garbled from error
    raise Garbled
