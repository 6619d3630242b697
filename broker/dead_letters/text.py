"""A dead letter as text, for eyes and for programs. Pure.

Whatever a letter says is hostile until it is escaped: nothing here can move the cursor, start a line or imitate
a column, and for eyes everything is cut. JSON is never cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from broker.amqp.decoding import PROPERTIES
from broker.console.escaping import plain
from broker.console.json_text import dumps
from broker.dead_letters.queue import Letter, read_letter, text_of
from protocol.codec import decode
from protocol.errors import Malformed, with_type
from protocol.limits import Limits
from protocol.properties import ReceivedProperties
from protocol.task import Attempt, Task, attempt_table

HEAD = ("died (UTC)", "queue", "id", "task", "reason", "attempts", "replays", "text")
#: Characters of a cell, of a line, and of a body, as far as a person is shown them.
CELL = 60
LINE = 1000
BODY = 4000
_DUMPED_BYTES = 256


def cell(text: str, width: int = CELL) -> str:
    """Text as one line of at most ``width`` characters, without the gaps that would make it look like columns."""
    shown = re.sub(" {2,}", " ", plain(text[: width + 1]))
    return shown if len(text) <= width and len(shown) <= width else shown[: width - 1] + "…"


def row(letter: Letter, width: int = CELL) -> list[str]:
    """The cells under ``HEAD``."""
    verdict = letter.reason
    cells = (
        utc(letter.died_ms),
        letter.queue,
        letter.id,
        letter.task,
        verdict.code,
        str(_number(letter, "attempt", 1)),
        str(_number(letter, "replay", 0)),
        _text(letter),
    )
    return [cell(text, width) or "–" for text in cells]


def utc(time_ms: int, separator: str = " ") -> str:
    """An epoch time in milliseconds to the second; nothing if it is not known."""
    if not time_ms:
        return ""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime(f"%Y-%m-%d{separator}%H:%M:%S")


def _number(letter: Letter, header: str, absent: int) -> int:
    value = letter.headers.get(header, absent)
    return value if isinstance(value, int) and not isinstance(value, bool) else absent


def _error(letter: Letter) -> str | None:
    """The type of the exception that it died of: its last attempt has that, if a worker wrote the letter."""
    history = letter.headers.get("history")
    match history[-1:] if isinstance(history, list) else None:
        case [{"error": str(error), "text": text}] if error and text == letter.reason.text:
            return text_of(error)
    return None


def _text(letter: Letter) -> str:
    """Its text, after the type of the exception."""
    why = letter.reason
    return with_type(why.code, error, why.text) if (error := _error(letter)) else why.text


def summary(letter: Letter) -> dict[str, Any]:
    """One letter of a list."""
    verdict = letter.reason
    return {
        "queue": letter.queue,
        "id": letter.id,
        "task": letter.task,
        "reason": verdict.code,
        "error": _error(letter),
        "text": verdict.text,
        "died": f"{utc(letter.died_ms, 'T')}Z" if letter.died_ms else None,
        "attempts": _number(letter, "attempt", 1),
        "replays": _number(letter, "replay", 0),
        "body_bytes": len(letter.body),
    }


def detail(letter: Letter, limits: Limits) -> dict[str, Any]:
    """One letter with its history and, if they can be decoded, its arguments."""
    task, problem = _read(letter, limits)
    arguments, undecodable = decoded(letter.body, limits)
    return {
        **summary(letter),
        "worker": text_of(letter.headers.get("worker")),
        "reply_to": text_of(letter.properties.reply_to) or None,
        "expires_at": _number(letter, "expires_at", 0) or None,
        "history": [attempt_table(entry) for entry in task.history] if task else [],
        "replayable": task is not None,
        "problem": problem or undecodable,
        "arguments": arguments,
    }


def whole(letter: Letter, limits: Limits) -> dict[str, Any]:
    """One letter with every property, every header and the bytes of its body."""
    properties = {name: getattr(letter.properties, name, None) for name, _ in PROPERTIES if name != "headers"}
    return {
        **detail(letter, limits),
        "exchange": letter.exchange,
        "routing_key": letter.routing_key,
        "properties": {name: value for name, value in properties.items() if value is not None},
        "headers": letter.headers,
        "body": letter.body,
    }


def _read(letter: Letter, limits: Limits) -> tuple[Task | None, str | None]:
    try:
        return read_letter(letter, limits), None
    except Malformed as error:
        return None, str(error)


def decoded(body: bytes, limits: Limits) -> tuple[Any, str | None]:
    try:
        return decode(body, limits), None
    except Malformed as error:
        return None, str(error)


def description(letter: Letter, limits: Limits) -> str:
    """One letter on many lines, for a person."""
    return "\n".join(_lines(letter, limits))


def _lines(letter: Letter, limits: Limits) -> Iterator[str]:
    verdict, properties = letter.reason, letter.properties
    task, problem = _read(letter, limits)
    yield f"{cell(letter.id) or 'a letter without an id'}  in {letter.queue}"
    for name, text in (
        ("task", letter.task),
        ("reason", f"{verdict.code}: {why}" if (why := _text(letter)) else verdict.code),
        ("died", f"{utc(letter.died_ms)} UTC" if letter.died_ms else "at an unknown time"),
        ("buried by", text_of(letter.headers.get("worker")) or "the broker"),
        ("attempts", str(_number(letter, "attempt", 1))),
        ("replayed", f"{replays} ×, and dead again" if (replays := _number(letter, "replay", 0)) else ""),
        ("reply to", _reply_to(properties)),
        ("expires", f"{utc(task.expires_at)} UTC" if task and task.expires_at else ""),
        ("problem", f"it cannot be replayed: {problem}" if problem else ""),
    ):
        if text:
            yield f"  {name:<10}{cell(text, LINE)}"
    if task and task.history:
        yield "  history"
        for line in _history(task.history):
            yield f"    {cell(line, LINE)}"
    yield from _body(letter.body, limits)


def _reply_to(properties: ReceivedProperties) -> str:
    address = text_of(properties.reply_to)
    return f"{address[:40]}… (its requester; a replay drops it)" if address.startswith("amq.") else address


def _history(history: tuple[Attempt, ...]) -> Iterator[str]:
    before = 0
    for entry in history:
        if entry.attempt <= before:
            yield "replayed"
        before = entry.attempt
        again = f"; again in {entry.retry_in_ms / 1000:g} s" if entry.retry_in_ms else ""
        yield (
            f"attempt {entry.attempt}, {utc(entry.started_ms) or 'start unknown'}, {entry.ran_ms / 1000:g} s, "
            f"{entry.worker or 'the broker'}, {entry.error}: {entry.text}{again}"
        )


def _body(body: bytes, limits: Limits) -> Iterator[str]:
    value, problem = decoded(body, limits)
    if problem is not None:
        yield f"  body      {len(body)} bytes, {cell(problem, LINE)}"
        yield from hex_lines(body[:_DUMPED_BYTES])
        shown, size = min(len(body), _DUMPED_BYTES), len(body)
    else:
        text = dumps(value, indent=2)
        yield f"  body      {len(body)} bytes of msgpack"
        yield from (f"    {line}" for line in text[:BODY].split("\n"))
        shown, size = min(len(text), BODY), len(text)
    if shown < size:
        yield f"    … {size - shown} more; `export` has all of it"


def hex_lines(data: bytes) -> Iterator[str]:
    """Bytes in hexadecimal, 16 on a line, with what is printable ASCII of them."""
    for at in range(0, len(data), 16):
        piece = data[at : at + 16]
        letters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in piece)
        yield f"    {at:04x}  {piece.hex(' '):<47}  {letters}"
