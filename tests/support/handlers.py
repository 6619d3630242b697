"""Handlers for tests. Each notes its start in a journal (a file of JSON lines) if it is given one."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.support.waiting import eventually
from worker import Reject, Retry, current


def note(journal: str | None = None, **about: Any) -> int:
    """Note that this attempt started; its number."""
    if journal is not None:
        here = {"id": current().id, "attempt": current().attempt, "at": time.time(), "pid": os.getpid()}
        write(journal, {**here, **about})
    return current().attempt


def write(journal: str, entry: dict[str, Any]) -> None:
    """One line in one write: processes do not cut into each other's lines."""
    with Path(journal).open("a") as file:
        file.write(json.dumps(entry) + "\n")


def fail(times: int = 1000, journal: str | None = None) -> int:
    """Fail the first ``times`` attempts."""
    if note(journal) <= times:
        raise RuntimeError(f"attempt {current().attempt} fails")
    return current().attempt


def ask_for_retry(after: float | None = None, journal: str | None = None) -> int:
    """Ask for one retry."""
    if note(journal) == 1:
        raise Retry("once more", after=after)
    return current().attempt


def reject(text: str = "no", journal: str | None = None) -> None:
    note(journal)
    raise Reject(text)


def depend(down: str, journal: str | None = None, poison: bool = False) -> int:
    """Needs something that is away as long as there is a file ``down``; ``poison`` fails whatever is there."""
    is_down = Path(down).exists()
    note(journal, down=is_down, poison=poison)
    if is_down or poison:
        raise ConnectionError("it is away")
    return current().attempt


async def depend_async(down: str, journal: str | None = None, poison: bool = False) -> int:
    return depend(down, journal, poison)


def do_without(down: str, journal: str | None = None, poison: bool = False) -> str:
    """Answers in the place of ``depend``."""
    note(journal, fallback=True)
    if poison:
        raise LookupError("not in the cache either")
    return "from the cache"


def look_up() -> None:
    """Fail as code does that expects a key."""
    raise KeyError("x")


def crash(journal: str | None = None) -> None:
    """Kill the process that runs this, as the kernel does when memory runs out."""
    note(journal)
    os.kill(os.getpid(), signal.SIGKILL)


def leave(code: int = 3) -> None:
    """End the process from inside."""
    sys.exit(code)


def loop(journal: str | None = None) -> None:
    """Never end, and never give up the processor."""
    note(journal)
    while True:
        pass


class Unspeakable(Exception):
    """An exception whose text cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no text")


def raise_unspeakable(journal: str | None = None) -> None:
    note(journal)
    raise Unspeakable


def answer_richly(price: Any) -> dict[str, Any]:
    """A result of kinds that msgpack does not know, and what became of an argument of one."""
    at = datetime(2026, 11, 30, 14, 41, tzinfo=UTC)
    return {"got": price, "at": at, "sum": Decimal("1.50"), "both": {at.date(), at.date()}, "id": (UUID(int=7),)}


def opaque(journal: str | None = None) -> object:
    """Return what msgpack cannot carry."""
    note(journal)
    return {"rows": [1, object()]}


def huge(size: int = 2 * 1024 * 1024, journal: str | None = None) -> bytes:
    """Return more than a reply may hold."""
    note(journal)
    return bytes(size)


def speak(text: str = "hello", lines: int = 1) -> None:
    """Print, and log: what a handler of a user says."""
    print(f"printed {text}")
    for number in range(lines):
        logging.getLogger("shop").info("%s %d", text, number)


async def speak_soon(text: str = "hello") -> None:
    speak(text)


def echo(value: Any = None, journal: str | None = None) -> Any:
    note(journal)
    return value


def hold(gate: str, journal: str | None = None, within_s: float = 60.0) -> int:
    """Wait until the file ``gate`` is there."""
    note(journal)
    eventually(Path(gate).exists, "the gate", within_s)
    return current().attempt


def wait_to_be_cancelled(journal: str | None = None) -> str:
    """Go on until somebody has cancelled it."""
    note(journal)
    eventually(lambda: current().is_cancelled, "the cancel", 60)
    return "cancelled"


def clean_up(journal: str) -> None:
    """Go on until SIGTERM, and note it."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    note(journal)
    eventually(lambda: stopped, "SIGTERM", 60)
    note(journal, cleaned=True)
    raise SystemExit(1)


def nap(journal: str, seconds: float = 0.1) -> None:
    """Take a while."""
    note(journal)
    time.sleep(seconds)


def bear_and_hold(journal: str) -> None:
    """Start a process that would live for long, note both, and never end."""
    grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    note(journal, grandchild=grandchild.pid)
    grandchild.wait()


def keep_the_lock(journal: str, count: int = 2_000_000_000) -> None:
    """Start a process that would live for long, note both, and be for a minute where no other thread of this one
    can run."""
    grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    note(journal, grandchild=grandchild.pid)
    sum(range(count))


async def async_echo(value: Any = None, journal: str | None = None) -> Any:
    await asyncio.sleep(0)
    return echo(value, journal)


async def async_fail(times: int = 1000, journal: str | None = None) -> int:
    await asyncio.sleep(0)
    return fail(times, journal)


async def async_hold(journal: str | None = None) -> None:
    note(journal)
    await asyncio.Event().wait()


async def async_opaque() -> object:
    return {"rows": [1, object()]}


async def async_answer_richly(price: Any) -> dict[str, Any]:
    return answer_richly(price)


async def async_reject(text: str = "no") -> None:
    raise Reject(text)


async def async_leave(code: int = 3) -> None:
    sys.exit(code)


def fork_and_crash(journal: str) -> None:
    """Leave a forked child behind, which holds copies of all descriptors, and die."""
    if (pid := os.fork()) == 0:
        signal.pause()
    note(journal, grandchild=pid)
    os.kill(os.getpid(), signal.SIGKILL)
