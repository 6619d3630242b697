"""A status for eyes and for programs. Pure, but for the width of the terminal that ``rich`` looks up.

Names of hosts, users and queues are what a client said of itself: they are escaped and cut.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from broker.console.escaping import plain_json
from broker.console.tables import Fitting
from broker.dead_letters.text import cell
from broker.status.summary import QueueStatus, Status
from broker.status.workers import WorkerStatus
from protocol.delay import ttl_ms

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

#: Characters of the longest bar.
BAR = 20
_BLOCKS = " ▏▎▍▌▋▊▉█"
_SCHEMA = 1
_UNKNOWN = "–"
#: A count that is asked for and not known: never a 0.
_NO_COUNT = "?"


def to_map(status: Status) -> dict[str, Any]:
    """Everything as plain values; null is what is not known."""
    return {
        "schema": _SCHEMA,
        "staleness_s": status.staleness_s,
        "queues": [asdict(queue) for queue in status.work],
        "mailboxes": [asdict(queue) for queue in status.mailboxes],
        "delay_line": {
            "waiting": status.delayed,
            "next_due_within_s": status.next_due_s,
            "levels": [
                {"name": level.name, "waits_s": ttl_ms(bit) / 1000, "waiting": level.waiting}
                for bit, level in enumerate(status.delays)
            ],
        },
        "dead": [{"name": queue.name, "letters": queue.ready} for queue in status.dead],
        "obituaries": asdict(status.obituaries),
        "workers": None if status.workers is None else [asdict(worker) for worker in status.workers],
        "paused": None if status.paused is None else list(status.paused),
        "notes": list(status.notes),
    }


def to_json(status: Status, *, indent: int | None = None) -> str:
    """As JSON without any character that is not printable."""
    return plain_json(json.dumps(to_map(status), ensure_ascii=False, indent=indent))


def to_tables(status: Status, *, delays: bool) -> RenderableType:
    """For a person. Colours and bars are ``rich``'s to leave out."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Fitting(_queues(status))]
    if delays:
        parts.append(Fitting(_levels(status)))
    if status.workers is not None:
        parts.append(Fitting(_workers(status.workers)) if status.workers else _nobody(status))
    parts.append(Text(_source(status), style="dim"))
    return Group(*parts)


def _source(status: Status) -> str:
    if status.staleness_s is None:
        return "ready and consumers by AMQP, as of now; the rest is not known"
    return (
        "ready and consumers by AMQP, as of now; the rest by the management API, "
        f"up to {status.staleness_s} s old, and workers as they name themselves\n"
        "done, retried and failed by the /metrics of workers on this machine"
    )


def _table(*heads: str, left: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for head in heads:
        table.add_column(head, justify="left" if head in left else "right")
    return table


def _queues(status: Status) -> Table:
    from rich.text import Text

    table = _table("queue", "ready", "unacked", "consumers", "in/s", "out/s", "oldest", "", left=("queue", ""))
    rows = [*status.work, *status.mailboxes, status.obituaries]
    most = max(status.delayed or 0, *(queue.waiting or 0 for queue in (*rows, *status.dead)))
    for queue in status.work:
        is_paused = queue.name in (status.paused or ())
        unserved = queue.consumers == 0 and not is_paused
        colour = "red" if unserved and queue.ready else "green"
        cells = _cells(queue, "red" if unserved else "", word=", paused" if is_paused else "")
        table.add_row(*cells, Text(bar(queue.waiting, most), style=colour))
    table.add_row(*_delay_cells(status), Text(bar(status.delayed, most), style="blue"))
    for queue in status.dead:
        colour = "yellow" if queue.ready else ""
        table.add_row(*_cells(queue, "", of=colour), Text(bar(queue.waiting, most), style=colour))
    for queue in (*status.mailboxes, status.obituaries):
        table.add_row(*_cells(queue, ""), Text(bar(queue.waiting, most)))
    return table


def _cells(queue: QueueStatus, consumers: str, of: str = "", word: str = "") -> list[RenderableType]:
    from rich.text import Text

    return [
        Text(cell(queue.name) + word, style=of),
        Text(_number(queue.ready, _NO_COUNT), style=of),
        Text(_number(queue.unacked)),
        Text(_number(queue.consumers, _NO_COUNT), style=consumers),
        Text(_rate(queue.in_rate)),
        Text(_rate(queue.out_rate)),
        Text(duration(queue.oldest_s)),
    ]


def _delay_cells(status: Status) -> list[RenderableType]:
    from rich.text import Text

    due = status.next_due_s
    said = "delay line" if due is None else f"delay line, next ≤ {duration(due)}"
    return [Text(said), Text(_number(status.delayed, _NO_COUNT)), *map(Text, ("", "", "", "", ""))]


def _levels(status: Status) -> Table:
    from rich.text import Text

    table = _table("level", "waits", "waiting", "", left=("level", ""))
    most = max((level.waiting or 0 for level in status.delays), default=0)
    for bit, level in reversed(list(enumerate(status.delays))):
        waits = duration(ttl_ms(bit) / 1000)
        waiting = _number(level.waiting, _NO_COUNT)
        table.add_row(level.name, waits, waiting, Text(bar(level.waiting, most), style="blue"))
    return table


def _workers(workers: Sequence[WorkerStatus]) -> Table:
    from rich.text import Text

    left = ("host", "queues", "state", "user", "platform", "held")
    heads = ("host", "pid", "queues", "concurrency", "prefetch", "held", "done", "retried", "failed", "up")
    table = _table(*heads, "state", "user", "platform", left=left)
    for worker in workers:
        table.add_row(
            Text(cell(worker.host)),
            str(worker.pid),
            Text(cell(" ".join(worker.queues)) or _UNKNOWN),
            _number(worker.concurrency),
            _number(worker.prefetch),
            Text(_held(worker), style="green"),
            _number(worker.done),
            _number(worker.retried),
            Text(_number(worker.failed), style="yellow" if worker.failed else ""),
            duration(worker.up_s),
            Text(cell(state := _state(worker)), style="" if state == "running" else "yellow"),
            Text(cell(worker.user)),
            Text(cell(worker.platform)),
        )
    return table


def _state(worker: WorkerStatus) -> str:
    """That of its connections, and of its breakers that are not closed."""
    return ", ".join((worker.state, *(f"{name} {state}" for name, state in worker.breakers.items())))


def _nobody(status: Status) -> RenderableType:
    """The API hears of workers late, and not of those of other users; each of them consumes the obituaries."""
    from rich.text import Text

    count = status.obituaries.consumers
    if count:
        return Text(f"workers: {count}, of which the management API shows none (yet)\n", style="yellow")
    return Text("no worker is connected\n", style="red")


def _held(worker: WorkerStatus) -> str:
    """Deliveries that it holds, of those that it may hold."""
    if worker.unacked is None:
        return _UNKNOWN
    return f"{bar(worker.unacked, worker.prefetch or 0, 5):<5} {worker.unacked}"


def bar(part: int | None, whole: int, width: int = BAR) -> str:
    """A bar of up to ``width`` characters, in eighths; what is more than nothing shows."""
    if not part or part <= 0 or whole <= 0:
        return ""
    eighths = max(1, round(min(1.0, part / whole) * width * 8))
    full, rest = divmod(eighths, 8)
    return "█" * full + (_BLOCKS[rest] if rest else "")


def duration(seconds: float | None) -> str:
    """A time for eyes, in its two greatest units."""
    if seconds is None:
        return _UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, name, below, lower in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // below} {lower}"
    return _UNKNOWN


def _number(value: int | None, unknown: str = _UNKNOWN) -> str:
    return unknown if value is None else f"{value:,}"


def _rate(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:,.1f}"
