"""Handlers that do to their process what no handler should, and those that look at what is left afterwards.

Each has an ``async`` twin.
"""

from __future__ import annotations

import asyncio
import logging.config
import os
import socket
import stat
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from decimal import Decimal
from typing import Any, NoReturn

import msgpack

from worker import Reject, Retry, current


class Own(BaseException):
    """Not an ``Exception``."""


ERRORS: dict[str, type[BaseException]] = {
    error.__name__: error
    for error in (Exception, SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, Own)
}
TEXTS = {"short": "no", "surrogate": "caf\udce9", "long": "x" * 200_000, "unspeakable": "", "long name": "no"}


def twin(function: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def handler(**arguments: Any) -> Any:
        await asyncio.sleep(0)
        return function(**arguments)

    return handler


def _unspeakable(_self: object) -> str:
    raise SystemExit("not even its text")


def raise_it(error: str, text: str) -> NoReturn:
    kind = ERRORS[error]
    if text == "unspeakable":
        raise type(error, (kind,), {"__str__": _unspeakable})
    if text == "long name":
        raise type("Ä\x1b[2J" * 1000, (kind,), {})("no")
    raise kind(TEXTS[text])


def process() -> int:
    """In which it runs, for long enough that another one runs in another child."""
    time.sleep(0.2)
    return os.getpid()


def fork(leave: bool = False) -> list[object]:
    """Come back twice, or leave from the fork as one usually does."""
    if (pid := os.fork()) == 0:
        if leave:
            sys.exit(3)
        return ["the fork"]
    return ["the parent", os.waitpid(pid, 0)[1]]


def ask_for_decimals() -> int:
    if current().attempt == 1:
        raise Retry("once more", after=Decimal("0.25"))
    return current().attempt


class Unready(Retry):
    def __init__(self) -> None:
        """Without what it inherits."""


class Unreadable(Reject):
    def __getattribute__(self, name: str) -> Any:
        raise KeyboardInterrupt


def ask_oddly() -> int:
    if current().attempt == 1:
        raise Unready
    return current().attempt


def ask_for_nonsense() -> None:
    error = Retry("later")
    error.after = "tomorrow"  # type: ignore[assignment]
    raise error


def raise_unreadable() -> None:
    raise Unreadable


class Trap(dict[str, int]):
    def items(self) -> Any:
        raise SystemExit("a trap")


def return_a_trap() -> Trap:
    return Trap(a=1)


_SEEN: ContextVar[str] = ContextVar("seen")


def remember() -> str | None:
    """What the one before has left in the context."""
    seen = _SEEN.get(None)
    _SEEN.set("something")
    return seen


def silence() -> None:
    logging.config.dictConfig({"version": 1, "root": {"handlers": [], "level": "CRITICAL"}})
    logging.disable(logging.CRITICAL)


def _sockets() -> Iterator[int]:
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.stat(int(name)).st_mode):
                yield int(name)
        except OSError:
            continue


#: What is written to a worker who expects arrays of outcomes.
GARBAGE = {
    "text": b"hello\n",
    "no msgpack": b"\xc1",
    "an empty array": b"\x90",
    "numbers": b"\x93\x01\x02\x03",
    "another call's outcome": msgpack.packb([["done", 0.1, b"\x2a", 4711]]),
    "an unknown code": msgpack.packb([["failed", 0.1, "no_such_code", "E", "text", 0]]),
    "a map": b"\x81\xa1a\x01",
    "a long array that is claimed": b"\xdd\x7f\xff\xff\xff",
}


def write_garbage(what: str) -> None:
    """To every socket of its process; then wait to be ended for that."""
    for descriptor in _sockets():
        os.write(descriptor, GARBAGE[what])
    time.sleep(20)


raise_it_async, process_async, fork_async = twin(raise_it), twin(process), twin(fork)
ask_for_decimals_async, ask_oddly_async, ask_for_nonsense_async = map(
    twin, (ask_for_decimals, ask_oddly, ask_for_nonsense)
)
raise_unreadable_async, return_a_trap_async, remember_async, silence_async = map(
    twin, (raise_unreadable, return_a_trap, remember, silence)
)

_clients: list[tuple[socket.socket, socket.socket, asyncio.StreamReader, asyncio.StreamWriter]] = []


async def use_a_client() -> str:
    """By a connection that the module keeps, as a client with a pool does: it belongs to the loop of the first."""
    if not _clients:
        ours, theirs = socket.socketpair()
        _clients.append((ours, theirs, *await asyncio.open_connection(sock=ours)))
    _, theirs, reader, writer = _clients[0]
    writer.write(b"ping\n")
    await writer.drain()
    theirs.sendall(theirs.recv(100))
    return (await reader.readline()).decode()


async def leave_behind() -> str:
    """What ends its loop as soon as it runs again."""
    asyncio.get_running_loop().call_soon(sys.exit, 3)
    _left.append(asyncio.create_task(raise_it_async(error="KeyboardInterrupt", text="short")))
    return "left"


_left: list[asyncio.Task[Any]] = []


async def stop_the_loop() -> str:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)
    return "stopped"


_loops: list[asyncio.AbstractEventLoop] = []


async def lend_its_loop() -> str:
    _loops.append(asyncio.get_running_loop())
    return "lent"


def close_the_loop() -> str:
    """That of another handler, which does not run now."""
    _loops.pop().close()
    _clients.clear()
    return "closed"


async def cancel_itself() -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    return "cancelled"
