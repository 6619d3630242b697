"""The ledgers of a campaign: what is written down, outside the system under test, and by whom.

Each process that writes has a file of its own and adds one JSON line with one ``write(2)``, so that a SIGKILL
costs no line but the one that was not yet written. All times are of ``CLOCK_MONOTONIC``, which the processes of
one machine share. Nothing here, and nothing in the checker, knows the code of the system under test: a task is
known by its ``key``, which travels in its arguments; a message that cannot carry one by the digest of its body.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

Mode = Literal["direct", "mailbox", "nobody"]
#: ``hostile``: a message that nobody may ever run; it must end as a dead letter with its body untouched.
Kind = Literal["ok", "slow", "large", "fails", "always", "rejects", "crashes_child", "crashes_worker", "hostile"]
Answer = Literal["accepted", "returned", "refused", "unknown", "done", "failed"]
Ending = Literal["done", "failed", "retry", "rejected"]
Rule = Literal["ack", "prefetch", "letter_first", "answered"]


def now() -> float:
    """Seconds of CLOCK_MONOTONIC."""
    return time.monotonic()


def digest(body: bytes) -> str:
    """What stands for a body in a ledger."""
    return hashlib.sha256(body).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    at: float = field(default_factory=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise(Record):
    """What the installation promises, read from its configuration: the first record of a campaign."""

    system: str
    max_attempts: int
    #: Before attempt 2, 3, …; the last one is repeated. A delay may be longer, never shorter.
    backoff_s: tuple[float, ...]
    prefetch: int
    #: Work flows again within this many seconds after a fault has healed.
    recovery_s: float
    #: An ack that is younger than this when the broker crashes may be lost.
    ack_loss_s: float
    #: Whether a caller in mailbox mode gets exactly one reply; otherwise at most one.
    has_mailboxes: bool
    #: A task starts within so long after it is due, in quiet and after a fault; None: whenever it may.
    late_s: float | None = None
    late_after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Record):
    """Written before the publish by whoever publishes: a task, or a hostile message."""

    key: str
    kind: Kind
    requester: str
    mode: Mode
    #: The call ends within this many seconds.
    within_s: float
    #: Of the arguments, as the handler will compute it; of the body, for a hostile message.
    digest: str
    #: By which it goes; empty: none.
    queue: str = ""
    delay_s: float = 0.0
    #: How often the handler will fail before it is done (kind ``fails``).
    failures: int = 0
    #: What it was asked for together with, in one message; empty: alone.
    batch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(Record):
    """What a requester was told of its publish. ``unknown``: it does not know whether the broker has it."""

    key: str
    id: str
    answer: Literal["accepted", "returned", "refused", "unknown"]
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Record):
    """How a call ended for its caller. ``unknown``: no reply by its deadline, or the connection was given up."""

    key: str
    id: str
    answer: Literal["done", "failed", "unknown", "returned", "refused"]
    #: The error's code; empty if done.
    code: str = ""
    attempts: int = 0
    #: Of the result, if done.
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected(Record):
    """A reply that was handed to the one who collects a mailbox. A failure has no key: its id tells."""

    mailbox: str
    key: str
    id: str
    answer: Literal["done", "failed"]
    code: str = ""
    attempts: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Record):
    """Written by a handler before it does anything."""

    key: str
    id: str
    attempt: int
    #: Process that holds the worker's connection, and process that runs the handler.
    worker: int
    pid: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Record):
    """Written by a handler as the last thing it does."""

    key: str
    id: str
    attempt: int
    pid: int
    ending: Ending
    #: Of the result, if done.
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultBegan(Record):
    """Something was broken on purpose, or a process was found dead."""

    number: int
    fault: str
    #: What it touches: ``broker``, ``workers``, ``requesters``, or both of the latter by ``network``.
    touches: tuple[str, ...]
    #: The processes that it touches, by the pid of the process that holds the connection; empty: all of them.
    pids: tuple[int, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultHealed(Record):
    """From now on nothing of it is left; recovery is counted from here."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation(Record):
    """What was read off the wire and breaks a promise."""

    rule: Rule
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter(Record):
    """A dead letter, read at the end."""

    queue: str
    id: str
    #: Empty if its body cannot be read.
    key: str
    reason: str
    #: The attempts in its history, in order.
    attempts: tuple[int, ...]
    #: Of its body.
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue(Record):
    """What a queue holds at the end. ``dead``: a queue whose letters are kept on purpose."""

    name: str
    ready: int
    unacked: int
    dead: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOver(Record):
    """Something that should be gone at the end: a process, a connection, a channel, a descriptor."""

    what: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained(Record):
    """The last record: whether everything had come to rest before the queues were read."""

    complete: bool
    text: str = ""


_TYPES: dict[str, type[Record]] = {
    cls.__name__: cls
    for cls in (
        Promise,
        Asked,
        Told,
        Ended,
        Collected,
        Started,
        Finished,
        FaultBegan,
        FaultHealed,
        Violation,
        Letter,
        Queue,
        LeftOver,
        Drained,
    )
}


class Ledger:
    """A file that this process adds records to. ``write`` returns once the kernel has the line."""

    def __init__(self, folder: Path, writer: str) -> None:
        """``writer``: who writes; with the pid it names the file."""
        path = folder / f"{writer}-{os.getpid()}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, record: Record) -> None:
        line = json.dumps({"what": type(record).__name__, "values": asdict(record)}, ensure_ascii=True)
        os.write(self._file, line.encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


def read(folder: Path) -> list[Record]:
    """All records of a folder's ledgers, oldest first."""
    lines = (line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines())
    return sorted((_record(json.loads(line)) for line in lines), key=lambda record: record.at)


def count(records: Iterable[Record], kind: type[Record]) -> int:
    return sum(type(record) is kind for record in records)


def _record(line: dict[str, Any]) -> Record:
    kind = _TYPES[line["what"]]
    lists = {item.name for item in fields(kind) if str(item.type).startswith("tuple")}
    values: dict[str, Any] = {
        key: tuple(value) if key in lists else value for key, value in line["values"].items()
    }
    return kind(**values)
