"""Arguments from the command line and from lines of JSON; replies as lines of JSON."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from broker.console.arguments import pairs_of, read_json
from broker.console.json_text import dumps
from broker.console.streams import ready
from dispatcher.errors import CallError
from dispatcher.pending import Accepted
from dispatcher.window import Ended
from protocol.errors import GlassrabbitError
from protocol.reply import Reply

#: A longer line than this is no JSON object that a body could hold.
_LINE_BYTES = 64 * 1024 * 1024
_READ_BYTES = 1 << 16


class BadLine(CallError):
    """A line that is no JSON object. Nothing was sent for it."""


def arguments_of(pairs: Sequence[str], text: str | None) -> dict[str, Any]:
    """Arguments from ``--json OBJECT`` and ``-a KEY=VALUE``, which wins; a VALUE that is JSON is read as such.

    Raises ``ValueError``.
    """
    return {**({} if text is None else read_object(text)), **pairs_of(pairs, "-a")}


def read_object(text: str | bytes) -> dict[str, Any]:
    """One JSON object. Raises ``BadLine``."""
    try:
        value = read_json(text)
    except ValueError as error:
        raise BadLine(f"no JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadLine(f'a JSON {type(value).__name__}; it must be an object of arguments, like {{"n": 1}}')
    return value


async def lines_of(source: str) -> AsyncIterator[tuple[int, bytes]]:
    """The lines of a file, or of standard input for ``-``, numbered from 1; empty ones are left out.

    Raises ``OSError``. A pipe is read as it fills, so a slow producer is followed and not waited for.
    """
    if source != "-":
        with Path(source).open("rb") as file:
            async for item in _of_file(file):
                yield item
        return
    try:
        async for item in _of_file(sys.stdin.buffer):
            yield item
    except OSError as error:
        raise BadLine(
            f"standard input cannot be read ({error.strerror}). Give a file, or lines on standard input."
        ) from error


async def _of_file(file: BinaryIO) -> AsyncIterator[tuple[int, bytes]]:
    number, descriptor, begun = 0, file.fileno(), list[bytes]()
    mode = os.fstat(descriptor).st_mode
    # Files and devices like /dev/null are always ready, and epoll refuses them.
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or file.isatty()):
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line
        return
    # No stream of asyncio: it makes what it reads non-blocking, and a terminal is what the shell writes to, too.
    while await ready(descriptor) and (data := os.read(descriptor, _READ_BYTES)):
        *ends, rest = data.split(b"\n")
        for end in ends:
            number += 1
            line = b"".join((*begun, end, b"\n"))
            begun.clear()
            if line.strip():
                yield number, line
        begun.append(rest)
        if sum(map(len, begun)) > _LINE_BYTES:
            raise BadLine(f"line {number + 1} is longer than {_LINE_BYTES >> 20} MiB. Nothing after it was read.")
    if (line := b"".join(begun)).strip():
        yield number + 1, line


def ended_line(ended: Ended) -> dict[str, Any]:
    """One line of ``map``: the input's number with its reply, or with what kept it from one."""
    match ended.end:
        case Reply():
            return {"line": ended.line, **ended.end.to_map()}
        case Accepted():
            return {"line": ended.line, "id": ended.id}
        case GlassrabbitError() as error:
            return {"line": ended.line, "id": ended.id or None, "error": error_map(error)}


def error_map(error: GlassrabbitError) -> dict[str, Any]:
    """An error of ours in the shape of a failure."""
    name = type(error).__name__
    return {"code": _snake(name), "type": name, "text": str(error)}


def _snake(name: str) -> str:
    return "".join("_" + char.lower() if char.isupper() else char for char in name).lstrip("_")


def result_text(result: Any, *, plain: bool) -> str:
    """What ``call`` prints: JSON, or with ``-o plain`` a string as it is."""
    return result if plain and isinstance(result, str) else dumps(result)
