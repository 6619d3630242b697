"""What workers, and a tap, report of tasks, to the steps of their lives. Pure.

A step that nobody can see is told by what a later one says of it (``header``), or is said to be ``unknown``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

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

    def tapped(self, event: Event, *, is_moved: bool) -> list[Step]:
        """The steps that a tap makes known. ``is_moved``: the delay line published it."""
        steps = [] if is_moved else [*self._publish(event, Source.TAP)]
        if waits := [level for level in levels_of(event.key) if delay_level(level) <= event.exchange]:
            text = f"{ttl_ms(waits[0]) / 1000:g} s"
            steps.append(_step(event, "waits", Source.TAP, event.exchange, delay_level(waits[0]), text))
        return steps

    def _steps(self, event: Event) -> Iterator[Step]:
        task, worker, exchange = self._tasks[event.ids[0]], event.worker, event.exchange or "amq.default"
        step = partial(_step, event, event.what.value, Source.WORKER)
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

    def _publish(self, event: Event, source: Source) -> Iterator[Step]:
        """That it was published, unless that is known."""
        once = event.attempt, event.replay
        if once in self._tasks[event.ids[0]].published:
            return
        for task_id in event.ids:
            self._tasks[task_id].published.add(once)
        levels = levels_of(event.key)
        exchange = delay_level(levels[0]) if levels else event.exchange
        start = UNKNOWN if event.attempt > 1 else OPERATOR if event.replay else REQUESTER
        text = f"key {event.task}{delays(levels)}"
        yield _step(event, "published", source, start, exchange, text, at=published_at(event))
        yield _step(event, "confirmed", Source.UNKNOWN, exchange, start, UNKNOWN, at=0)

    def _before(self, event: Event, task: _Task) -> Iterator[Step]:
        """How it came into its queue, as far as that was not seen."""
        step = partial(_step, event, source=Source.HEADER)
        if event.redelivered:
            return
        if event.exchange == KILLED:
            queue = event.key
            yield step(
                "dead_letter", start=queue, end=dead_queue(queue), text=f"by the broker: {event.code}", at=0
            )
            return
        yield from self._publish(event, Source.HEADER)
        levels, since = levels_of(event.key), published_at(event)
        since = task.due or (since and since + sum(map(ttl_ms, levels)))
        yield step("routed", start=DUE if levels else event.exchange, end=event.queue, at=0)
        if since:
            text = f"{max(0, event.at - since) / 1000:.3f} s"
            yield step("waited", start=event.queue, end=event.queue, text=text)


def counted(event: Event, queue: str, ready: int, consumers: int) -> Step:
    """How many messages of a queue were ready after one was published."""
    return _step(event, "waits", Source.COUNT, queue, queue, f"{ready} ready, {consumers} consumers")


def _step(
    event: Event, name: str, source: Source, start: str, end: str, text: str = "", at: int | None = None
) -> Step:
    """``at``: that of the event, if it is not given."""
    when = event.at if at is None else at
    return Step(at=when, ids=event.ids, name=name, source=source, start=start, end=end, text=text)


def published_at(event: Event) -> int:
    """By the clock of who did it, as far as the message says so: epoch milliseconds; else 0."""
    return (event.replayed_at or event.sent_at) if event.attempt == 1 else 0


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
