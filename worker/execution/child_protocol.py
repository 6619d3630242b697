"""What a worker and its child say to each other, in msgpack.

To the child: a length of four bytes, then tasks of one run as ``[number, handler, task, queue, max_attempts,
attempt, expires_at, ids, arguments]``; ``number`` is that of the first of them, the others follow. Beside it, on a
socket of its own, the number of each task as a *token* of four bytes: the child takes the token of a task before
it begins it, and what the worker takes back of them was not begun and never will be. Back come arrays of outcomes,
each with the number of its task behind it, in the order in which the tasks were begun.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

import msgpack

from protocol.errors import ErrorCode
from worker.context import Current
from worker.execution.outcome import Done, Failed, Outcome, Rejected, RetryAsked

if TYPE_CHECKING:
    # Not in a child, whose memory counts as often as there are children.
    from worker.execution.executor import Run

HEAD = struct.Struct(">I")
TOKEN = struct.Struct(">I")
#: Numbers start again from 0 after this many.
NUMBERS = 1 << 32

#: What a child says first, and a zygote.
READY, BROKEN = "ready", "broken"
#: The longest message between a worker and its zygote.
READ_BYTES = 1 << 18
#: What a zygote hears and says besides.
UNFIT, FORK, FORKED, REFUSED, KILL, ENDED = "unfit", "fork", "forked", "refused", "kill", "ended"


class Garbled(Exception):
    """What came from a child is no answer."""


def pack(value: object) -> bytes:
    body: bytes = msgpack.packb(value)
    return HEAD.pack(len(body)) + body


def unpack(body: bytes) -> Any:
    return msgpack.unpackb(body)


def from_run(number: int, run: Run, positions: range) -> list[object]:
    """Some tasks of a run; ``number`` is that of the first."""
    terms, places = run.terms, slice(positions.start, positions.stop)
    return [
        number,
        terms.handler,
        terms.task,
        terms.queue,
        terms.max_attempts,
        run.attempt,
        run.expires_at,
        run.ids[places],
        run.arguments[places],
    ]


class Work(NamedTuple):
    """One task for a child."""

    number: int
    handler: str
    arguments: bytes | dict[str, Any]
    expires_at: int
    context: Current


def to_work(fields: list[Any]) -> Iterator[Work]:
    """The tasks of a frame, with their numbers."""
    number, handler, task, queue, max_attempts, attempt, expires_at, ids, arguments = fields
    for place, task_id in enumerate(ids):
        context = Current(id=task_id, task=task, queue=queue, attempt=attempt, max_attempts=max_attempts)
        yield Work((number + place) % NUMBERS, handler, arguments[place], expires_at, context)


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
    """How a task ended, how many seconds it ran, and its number. Raises ``Garbled``."""
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
