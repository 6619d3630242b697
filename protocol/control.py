"""What travels in the control stream: how workers are steered, as values and as bytes. Pure.

A record is a msgpack map of at most ``MOST_BYTES``. What it says counts by the exchange that it came by, which the
broker writes and no publisher: ``control`` for all but markers, ``control.markers`` for markers alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from protocol.codec import decode, encode
from protocol.limits import Limits, cut
from protocol.names import APP_ID, CONTROL, MARKERS, are_ids, is_id, is_task_name
from protocol.properties import Properties, Reader, bad

VERSION = 1
MOST_BYTES = 64 * 1024
#: Of one record.
MOST_IDS = 1000
LIMITS = Limits(body_bytes=MOST_BYTES, depth=3, nodes=2 * MOST_IDS)
_NAME_BYTES = 255
_LATEST_MS = 10**13


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """``id``: its own, which it keeps when it is written again; ``by``: who wrote it first, in words; ``at``:
    when, in epoch milliseconds by that clock; ``written``: the same of the latest time."""

    id: str
    by: str
    at: int
    written: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker(Record):
    """Somebody has read up to here; ``by``: a worker as ``host:pid``, or a command. ``gone``: 1 if it stops."""

    gone: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Record):
    """No worker takes tasks of ``queue``, until a ``Resume`` that names this record."""

    queue: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Record):
    """These pauses of ``queue`` are over, wherever in the stream they stand."""

    queue: str
    ends: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel(Record):
    """These tasks do not run, nor do those of the name ``task`` that were sent before ``before``, until ``until``
    (epoch milliseconds). One that was replayed after ``at`` does."""

    ids: tuple[str, ...] = ()
    task: str = ""
    before: int = 0
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspect(Record):
    """Each worker answers at the direct address in ``reply_to``: with what it runs; or, if there are ``ids``, with
    what becomes of these tasks, as often as it knows more, until ``until``."""

    ids: tuple[str, ...] = ()
    until: int


class Do(StrEnum):
    """What one worker is to do."""

    #: Take no tasks, finish what runs, and be unready.
    DRAIN = "drain"
    #: The same, and stop then.
    EXIT = "exit"
    #: Take tasks again.
    RESUME = "resume"
    #: Log from this level on, until ``until``.
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Record):
    """For the worker ``host:pid``, which obeys it and answers as to an ``Inspect``. Nobody remembers it: a worker
    passes over what was written before it had read the stream for the first time."""

    worker: str
    do: Do
    until: int = 0


LEVELS = (Do.DEBUG, Do.INFO, Do.WARNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch(Record):
    """Each worker reports what becomes of tasks, at the direct address in ``reply_to``, until ``until``: of those
    with these ids, and of the ``next`` ones that come to it, of the name ``task`` if there is one."""

    ids: tuple[str, ...] = ()
    task: str = ""
    next: int = 0
    until: int


AnyRecord = Marker | Pause | Resume | Cancel | Inspect | Order | Watch
KINDS: dict[str, type[AnyRecord]] = {
    "marker": Marker,
    "pause": Pause,
    "resume": Resume,
    "cancel": Cancel,
    "inspect": Inspect,
    "order": Order,
    "watch": Watch,
}
_KIND_OF = {record: kind for kind, record in KINDS.items()}


def pack(record: AnyRecord) -> bytes:
    """A record as a body. Raises ``NotEncodable`` for one that is too large."""
    fields = {key: value for key, value in asdict(record).items() if value not in ("", 0, ())}
    return encode({"v": VERSION, "kind": _KIND_OF[type(record)], **fields}, LIMITS, "record")


def properties_of(record: AnyRecord, reply_to: str | None = None) -> Properties:
    return Properties(type=_KIND_OF[type(record)], message_id=record.id, app_id=APP_ID, reply_to=reply_to)


def exchange_of(record: AnyRecord) -> str:
    """The only exchange that such a record may come by; its routing key is the same for all."""
    return MARKERS if isinstance(record, Marker) else CONTROL


def read(exchange: str, body: bytes) -> AnyRecord:
    """The record of a message that came by an exchange. Raises ``Malformed`` for what is none, is of another
    version, or came by an exchange that it must not come by."""
    table = Reader(decode(body, LIMITS), "record")
    if (version := table.integer("v", 0, 0, _LATEST_MS)) != VERSION:
        raise bad(f"record.v is {version}, and this program reads {VERSION}")
    record = _record(table)
    if exchange != exchange_of(record):
        raise bad(f"a {_KIND_OF[type(record)]} must not come by exchange {exchange or 'amq.default'}")
    return record


def _record(table: Reader) -> AnyRecord:
    common: dict[str, Any] = {
        "id": table.text("id"),
        "by": cut(table.text("by"), _NAME_BYTES),
        "at": table.integer("at", 0, 0, _LATEST_MS),
        "written": table.integer("written", 0, 0, _LATEST_MS),
    }
    if not is_id(common["id"]):
        raise bad("record.id must be 32 lower-case hexadecimal digits")
    match table.text("kind"):
        case "marker":
            return Marker(**common, gone=table.integer("gone", 0, 0, 1))
        case "pause":
            return Pause(**common, queue=_name(table, "queue"))
        case "resume":
            return Resume(**common, queue=_name(table, "queue"), ends=_ids(table, "ends"))
        case "cancel":
            return _cancel(table, common)
        case "inspect":
            return Inspect(**common, ids=_ids(table, "ids"), until=table.integer("until", 0, 1, _LATEST_MS))
        case "order":
            return _order(table, common)
        case "watch":
            return _watch(table, common)
        case kind:
            raise bad(f"record.kind {cut(kind, 40)!r} is not one of {', '.join(KINDS)}")


def _cancel(table: Reader, common: dict[str, Any]) -> Cancel:
    record = Cancel(
        **common,
        ids=_ids(table, "ids"),
        task=table.text("task", ""),
        before=table.integer("before", 0, 0, _LATEST_MS),
        until=table.integer("until", 0, 1, _LATEST_MS),
    )
    if bool(record.ids) is bool(record.task) or bool(record.task) is not bool(record.before):
        raise bad("a cancel has either ids, or task and before")
    if record.task and not is_task_name(record.task):
        raise bad("record.task must be a task's name")
    return record


def _order(table: Reader, common: dict[str, Any]) -> Order:
    do, until = table.text("do"), table.integer("until", 0, 0, _LATEST_MS)
    if do not in tuple(Do):
        raise bad(f"record.do must be one of {', '.join(Do)}")
    if bool(until) is not (do in LEVELS):
        raise bad("of all orders a level of the log alone has an end")
    return Order(**common, worker=_name(table, "worker"), do=Do(do), until=until)


def _watch(table: Reader, common: dict[str, Any]) -> Watch:
    record = Watch(
        **common,
        ids=_ids(table, "ids"),
        task=table.text("task", ""),
        next=table.integer("next", 0, 0, MOST_IDS),
        until=table.integer("until", 0, 1, _LATEST_MS),
    )
    if not (record.ids or record.next) or (record.task and not (record.next and is_task_name(record.task))):
        raise bad("a watch has ids, or next, perhaps with a task's name")
    return record


def _name(table: Reader, key: str) -> str:
    name = table.text(key)
    if not 0 < len(name.encode()) <= _NAME_BYTES:
        raise bad(f"record.{key} must have 1 to {_NAME_BYTES} bytes")
    return name


def _ids(table: Reader, key: str) -> tuple[str, ...]:
    ids = table.array(key, MOST_IDS)
    if not are_ids(ids):
        raise bad(f"record.{key} must be ids")
    return tuple(map(str, ids))


#: Tasks of one answer.
MOST_TASKS = 1000
ANSWER_LIMITS = Limits(body_bytes=512 * 1024, depth=4, nodes=20 * MOST_TASKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A task that runs. ``since``: epoch milliseconds; ``executor``: process, thread or async."""

    id: str
    task: str
    queue: str
    attempt: int
    since: int
    executor: str


class End(StrEnum):
    """What became of a task."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    #: A worker has it.
    UNACKED = "unacked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Of one worker to an ``Inspect`` or ``Order``; ``more``: tasks beyond those that are listed; ``ends``: by
    their ids what became of the tasks that it was asked about, of those that it knows."""

    worker: str
    tasks: tuple[Running, ...] = ()
    more: int = 0
    ends: dict[str, End] = field(default_factory=dict)


def pack_answer(answer: Answer) -> bytes:
    listed = answer.tasks[:MOST_TASKS]
    more = answer.more + len(answer.tasks) - len(listed)
    tasks = [asdict(task) for task in listed]
    fields: dict[str, object] = {"worker": answer.worker, "tasks": tasks, "more": more}
    for end in End:
        if ids := [task for task, one in answer.ends.items() if one is end]:
            fields[end.value] = ids
    return encode(fields, ANSWER_LIMITS, "answer")


def read_answer(body: bytes) -> Answer:
    """Raises ``Malformed``."""
    table = Reader(decode(body, ANSWER_LIMITS), "answer")
    return Answer(
        worker=cut(table.text("worker"), _NAME_BYTES),
        tasks=tuple(_running(Reader(one, "tasks")) for one in table.array("tasks", MOST_TASKS)),
        more=table.integer("more", 0, 0, _LATEST_MS),
        ends={task: end for end in End for task in _ids(table, end)},
    )


def _running(table: Reader) -> Running:
    return Running(
        **{key: cut(table.text(key), _NAME_BYTES) for key in ("id", "task", "queue", "executor")},
        attempt=table.integer("attempt", 1, 1, _LATEST_MS),
        since=table.integer("since", 0, 0, _LATEST_MS),
    )
