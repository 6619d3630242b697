"""The standard streams of every command, made safe at its entry, whatever the shell has made of them.

One that is closed at the start is opened, so that no file or socket of ours gets its number, and no process that
we start lacks it. Standard output is for data: what cannot be written there is an error. Standard error is for all
else, and holds up nobody (``broker.console.outlet``).

What a stream cannot carry is written as ``\\uXXXX``, so that JSON says the same. One that is not UTF-8 carries
ASCII alone: JSON in any other encoding is none.
"""

from __future__ import annotations

import codecs
import io
import os
import select
import sys

from broker.console.escaping import json_escapes
from broker.console.outlet import Outlet

_ESCAPED = "glassrabbit_escaped"
#: ASCII by another name: click takes streams of ASCII for a mistake, and writes UTF-8 to them.
_ASCII = "glassrabbit_ascii"


def make_safe(*, threaded: bool = True) -> None:
    """Once, before anything is read or written. ``threaded``: see ``Outlet``."""
    # The other way round, so that nothing is read from them, and no data is lost in them without a word.
    for descriptor, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)
    codecs.register_error(_ESCAPED, _escape)
    codecs.register(_find)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - for as long as the process lives
    output = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    assert isinstance(output, io.TextIOWrapper)
    output.reconfigure(encoding=_encoding(output.encoding), errors=_ESCAPED)
    sys.stdout = output
    encoding = _encoding(sys.stderr.encoding if sys.stderr else output.encoding)
    sys.stderr = io.TextIOWrapper(Outlet(2, threaded=threaded), encoding, _ESCAPED, line_buffering=True)


def print_to_stderr() -> None:
    """From here on what is printed goes there: for a process that has no data, and runs what others wrote."""
    os.dup2(2, 1)
    sys.stdout = sys.stderr


async def ready(descriptor: int, *, to_write: bool = False) -> bool:
    """Return True as soon as it can be read, or written: not of a file, which always can."""
    import asyncio

    loop, event = asyncio.get_running_loop(), asyncio.Event()
    add, remove = (loop.add_writer, loop.remove_writer) if to_write else (loop.add_reader, loop.remove_reader)
    add(descriptor, event.set)
    try:
        return await event.wait()
    finally:
        remove(descriptor)


async def write(text: str) -> None:
    """Write data to standard output. Its reader may take time: the loop goes on meanwhile."""
    sys.stdout.flush()
    left = memoryview(text.encode(sys.stdout.encoding, sys.stdout.errors or "strict"))
    while left:
        if select.select([], [1], [], 0)[1] or await ready(1, to_write=True):
            # A pipe that has room takes as much at once.
            left = left[os.write(1, left[: select.PIPE_BUF]) :]


def _encoding(name: str) -> str:
    return "utf-8" if codecs.lookup(name).name == "utf-8" else _ASCII


def _find(name: str) -> codecs.CodecInfo | None:
    if name != _ASCII:
        return None
    ascii_ = codecs.lookup("ascii")
    return codecs.CodecInfo(
        ascii_.encode,
        ascii_.decode,
        incrementalencoder=ascii_.incrementalencoder,
        incrementaldecoder=ascii_.incrementaldecoder,
        name=_ASCII,
    )


def _escape(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return json_escapes(error.object[error.start : error.end]), error.end
