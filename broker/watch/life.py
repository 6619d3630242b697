"""What workers, and a tap, report of tasks, to the steps of their lives. Pure.

A step that nobody can see is told by what a later one says of it (``header``), or is said to be ``unknown``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from protocol.delay import levels_of, ttl_ms
from protocol.errors import with_type
from protocol.names import DEAD, DUE, KILLED, OBITUARIES, REPLIES, dead_queue, delay_level
from protocol.watching import Event, What

REQUESTER = "requester"
OPERATOR = "operator"
UNKNOWN = "unknown"
_DELAY = delay_level(0)[:-2]


class Source(StrEnum):
    """Who says so."""

    WORKER = "worker"
    TAP = "tap"
    #: The message itself, when it was delivered.
    HEADER = "header"
    #: A passive declare of a queue.
    COUNT = "count"
    #: Nobody: only whom it happened to knows.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """``start`` did something with ``end``: the requester, an exchange, a queue, a worker. ``at``: epoch
    milliseconds by the clock of its source; 0: unknown."""

    at: int
    ids: tuple[str, ...]
    name: str
    source: Source
    start: str
    end: str
    text: str = ""


@dataclass(slots=True)
class _Task:
    #: The worker that had it last.
    holder: str = ""
    #: When it is due, if it is known that a copy of it was published: epoch milliseconds.
    due: int = 0
    #: The attempts and replays of which the publish is known.
    published: set[tuple[int, int]] = field(default_factory=set)
    queue: str = ""
    is_over: bool = False


class Lives:
    """``fold`` events in their order."""

    def __init__(self) -> None:
        self._tasks: dict[str, _Task] = defaultdict(_Task)

    @property
    def over(self) -> set[str]:
        """Those about which nothing more happens."""
        return {task_id for task_id, task in self._tasks.items() if task.is_over}

    def fold(self, event: Event) -> list[Step]:
        """The steps that an event makes known, in their order."""
        steps = list(self._steps(event))
        for task in map(self._tasks.__getitem__, event.ids):
            match event.what:
                case What.DELIVERED | What.HELD:
                    task.holder, task.queue, task.due = event.worker, event.queue, 0
                    task.published.add((event.attempt, event.replay))
                case What.PUBLISHED if event.exchange.startswith(_DELAY):
                    task.due = event.at + sum(map(ttl_ms, levels_of(event.key)))
                    task.published.add((event.attempt, event.replay))
                case What.ACKED:
                    task.is_over = not task.due
                case _:
                    pass
        return steps

    def _steps(self, event: Event) -> Iterator[Step]:
        task, worker, exchange = self._tasks[event.ids[0]], event.worker, event.exchange or "amq.default"

        def step(start: str, end: str, text: str = "", name: str = event.what.value) -> Step:
            return Step(
                at=event.at, ids=event.ids, name=name, source=Source.WORKER, start=start, end=end, text=text
            )

        match event.what:
            case What.WATCHES:
                return
            case What.DELIVERED | What.HELD:
                yield from self._before(event, task)
                text = f"tag {event.tag}" + (f", attempt {event.attempt}" if event.queue != OBITUARIES else "")
                if event.redelivered:
                    text += f", redelivered: {task.holder or UNKNOWN} had it before"
                yield step(event.queue, worker, text)
            case What.RUNS:
                yield step(worker, worker)
            case What.PUBLISHED:
                yield step(worker, exchange, _published(event))
            case What.CONFIRMED | What.UNCONFIRMED:
                yield step(exchange, worker, event.text)
            case What.ACKED | What.GIVEN_BACK:
                yield step(worker, task.queue or UNKNOWN, f"tag {event.tag}")

    def _before(self, event: Event, task: _Task) -> Iterator[Step]:
        """How it came into its queue, as far as that was not seen."""

        def step(
            name: str, start: str, end: str, text: str = "", at: int = 0, source: Source = Source.HEADER
        ) -> Step:
            return Step(at=at, ids=event.ids, name=name, source=source, start=start, end=end, text=text)

        if event.redelivered:
            return
        if event.exchange == KILLED:
            yield step("dead_letter", event.key, dead_queue(event.key), f"by the broker: {event.code}")
            return
        levels = levels_of(event.key)
        since = event.replayed_at or event.sent_at if event.attempt == 1 else task.due
        if (event.attempt, event.replay) not in task.published:
            entered = delay_level(levels[0]) if levels else event.exchange
            text = f"key {event.task}" + delays(levels)
            start = UNKNOWN if event.attempt > 1 else OPERATOR if event.replay else REQUESTER
            yield step("published", start, entered, text, since)
            yield step("confirmed", entered, start, UNKNOWN, source=Source.UNKNOWN)
            since += sum(map(ttl_ms, levels)) if since else 0
        yield step("routed", DUE if levels else event.exchange, event.queue)
        if since:
            yield step("waited", event.queue, event.queue, f"{max(0, event.at - since) / 1000:.3f} s", event.at)


def delays(levels: Sequence[int]) -> str:
    """Where in the delay line it waits, and for how long."""
    if not levels:
        return ""
    waits = " + ".join(f"{ttl_ms(level) / 1000:g} s in {delay_level(level)}" for level in levels)
    return f", due in {sum(map(ttl_ms, levels)) / 1000:g} s ({waits})"


def _published(event: Event) -> str:
    """What a worker published, in words."""
    why = with_type(event.code, event.code, event.text)
    if event.code and event.text:
        why = f"{event.code}: {event.text}"
    if event.exchange in ("", REPLIES):
        ran = f", ran {event.ran_ms / 1000:.3f} s" if event.code == "done" else ""
        return f"reply: {why}{ran}"
    if event.exchange == DEAD:
        return f"dead letter of {event.key}: {why}"
    return f"copy: attempt {event.attempt}{delays(levels_of(event.key))}" + (f"; {why}" if why else "")
