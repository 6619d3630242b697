"""What holds by the control stream: its records folded in their order. Pure; the clock is a parameter.

A record may come again, with the same id: it was written again, or the stream is read from its beginning.
So nothing depends on how often a record is folded; and what ends a pause names it, so that a pause that was
written again after its end does not come back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from protocol.control import AnyRecord, Cancel, Inspect, Marker, Pause, Resume, Watch
from protocol.task import Task

#: The part of the retention after which a record is written again; it has to be by half of it.
RENEW_FROM = 0.4
#: The part of the retention that cancelled ids may take: more would push each other out when written again.
MOST_HELD = 0.25
_ID_BYTES = 34


@dataclass(slots=True)
class Held:
    """A record that must not get lost, and how many bytes of the stream came before it."""

    record: AnyRecord
    at_bytes: int


@dataclass(slots=True)
class State:
    """Life: ``fold`` for each record; at any time ``paused`` and ``due``."""

    retention_ms: int
    retention_bytes: int
    #: The bytes of all that was folded.
    bytes: int = 0
    _held: dict[str, Held] = field(default_factory=dict)
    #: By the id of a pause that is over: what ended it.
    _ended: dict[str, Resume] = field(default_factory=dict)
    #: Ends of pauses that were written again behind them.
    _contradicted: dict[str, Resume] = field(default_factory=dict)
    #: What cancels tasks, by their ids, and by their name.
    _by_id: dict[str, Cancel] = field(default_factory=dict)
    _by_name: dict[str, Cancel] = field(default_factory=dict)

    def fold(self, record: AnyRecord, size: int) -> None:
        """``size``: of its body. Markers count by it alone."""
        self.bytes += size
        match record:
            case Pause():
                if (end := self._ended.get(record.id)) is not None:
                    self._contradicted[end.id] = end
                else:
                    self._held[record.id] = Held(record, self.bytes)
            case Resume():
                self._contradicted.pop(record.id, None)
                for pause in record.ends:
                    self._held.pop(pause, None)
                    self._ended[pause] = record
            case Cancel():
                self._held[record.id] = Held(record, self.bytes)
                self._by_id.update(dict.fromkeys(record.ids, record))
                known = self._by_name.get(record.task)
                if record.task and (known is None or known.before <= record.before):
                    self._by_name[record.task] = record
            case Marker() | Inspect() | Watch():
                pass

    @property
    def is_urgent(self) -> bool:
        """Whether something has to be written again at once."""
        return bool(self._contradicted)

    @property
    def paused(self) -> dict[str, Pause]:
        """Queues that are paused, each with the latest record that says so."""
        return {held.record.queue: held.record for held in self._held.values() if isinstance(held.record, Pause)}

    def pauses_of(self, queue: str) -> tuple[str, ...]:
        """The ids of all that pause a queue."""
        records = [held.record for held in self._held.values()]
        return tuple(one.id for one in records if isinstance(one, Pause) and one.queue == queue)

    @property
    def has_cancels(self) -> bool:
        return bool(self._by_id or self._by_name)

    def cancel_of(self, task: Task, task_id: str, now_ms: int) -> Cancel | None:
        """What cancels a task, or a task of a batch. A replay that was made after the cancel runs."""
        found = self._by_id.get(task_id)
        if found is None:
            found = self._by_name.get(task.name)
            if found is None or not 0 < task.sent_at < found.before:
                return None
        return None if found.until <= now_ms or task.replayed_at > found.at else found

    def has_room(self, count: int) -> bool:
        """Whether this many more ids may be cancelled; the bytes of all else that holds are few."""
        records = [held.record for held in self._held.values()]
        cancelled = sum(len(one.ids) for one in records if isinstance(one, Cancel))
        return _ID_BYTES * (cancelled + count) <= MOST_HELD * self.retention_bytes

    def due(self, now_ms: int) -> list[AnyRecord]:
        """What has to be written again now, as it is to be written."""
        self._forget(now_ms)
        old = [held.record for held in self._held.values() if self._is_old(held, now_ms)]
        return [replace(record, written=now_ms) for record in (*old, *self._contradicted.values())]

    def _is_old(self, held: Held, now_ms: int) -> bool:
        age_ms, younger = now_ms - held.record.written, self.bytes - held.at_bytes
        return age_ms > RENEW_FROM * self.retention_ms or younger > RENEW_FROM * self.retention_bytes

    def _forget(self, now_ms: int) -> None:
        """What is over by time; and the ends of pauses that cannot come back any more."""
        over = [
            key
            for key, held in self._held.items()
            if isinstance(held.record, Cancel) and held.record.until <= now_ms
        ]
        if over:
            for record_id in over:
                del self._held[record_id]
            self._by_id = {task: one for task, one in self._by_id.items() if one.until > now_ms}
            self._by_name = {task: one for task, one in self._by_name.items() if one.until > now_ms}
        oldest_ms = now_ms - 2 * self.retention_ms
        self._ended = {pause: end for pause, end in self._ended.items() if end.written >= oldest_ms}
