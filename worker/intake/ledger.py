"""A worker's memory: what runs here, and what it lately finished. Pure; the clock is a parameter.

A delivery of a task that is finished is answered from memory, one of a task that runs is joined to the run:
so a redelivery, and a dispatcher that asks again, do not run a task twice in one worker.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import repeat

from protocol.names import ID_LENGTH
from protocol.reply import PackedReply
from worker.intake.batch import Batch, Key

#: The type of the reply, when it was finished, and the reply's body.
_Finished = tuple[str, float, bytes]
_Bodies = Sequence[bytes]


@dataclass(slots=True)
class Ledger:
    """Bounded by number, age and bytes of the replies it keeps; the oldest go first."""

    entries: int
    age_s: float
    bytes: int
    _running: dict[Key, Batch] = field(default_factory=dict)
    _finished: dict[Key, _Finished] = field(default_factory=dict)
    #: The keys of these, oldest first; of one that was finished again the earlier places count for nothing.
    _order: deque[Key] = field(default_factory=deque)
    _again: Counter[Key] = field(default_factory=Counter)
    _held: int = 0

    def knows_any(self, keys: Sequence[Key]) -> bool:
        """Whether one of these runs, or was finished."""
        return not (self._running.keys().isdisjoint(keys) and self._finished.keys().isdisjoint(keys))

    def running(self) -> list[tuple[Key, Batch]]:
        """What runs, and with which batch."""
        return list(self._running.items())

    def find(self, key: Key, now_s: float) -> Batch | PackedReply | None:
        """The batch with which it runs, or the reply to what is finished."""
        running = self._running.get(key)
        if running is not None:
            return running
        finished = self._finished.get(key)
        if finished is None or now_s - finished[1] > self.age_s:
            return None
        return PackedReply(id=key[:ID_LENGTH], type=finished[0], body=finished[2])

    def ends_of(self, ids: Collection[str]) -> dict[str, PackedReply | None]:
        """By its id the latest reply to each of these tasks that was finished here; None of one that runs."""
        found: dict[str, PackedReply | None] = {
            task: PackedReply(id=task, type=kind, body=body)
            for key, (kind, _, body) in self._finished.items()
            if (task := key[:ID_LENGTH]) in ids
        }
        return found | {task: None for key in self._running if (task := key[:ID_LENGTH]) in ids}

    def start(self, keys: Sequence[Key], batch: Batch) -> None:
        """They run, as part of this batch."""
        self._running.update(dict.fromkeys(keys, batch))

    def forget(self, key: Key, batch: Batch) -> None:
        """It does not run any more, and nothing is to be remembered of it. Idempotent."""
        if self._running.get(key) is batch:
            del self._running[key]

    def finish(self, keys: Sequence[Key], kind: str, bodies: _Bodies, now_s: float) -> None:
        """Remember how tasks ended, by the type and the bodies of their replies: from now on their deliveries are
        answered from memory."""
        for key in keys:
            self._running.pop(key, None)
        new = dict(zip(keys, zip(repeat(kind), repeat(now_s), bodies, strict=False), strict=True))
        self._remember(new, sum(map(len, bodies)), now_s)

    def _remember(self, new: dict[Key, _Finished], size: int, now_s: float) -> None:
        finished, order = self._finished, self._order
        if not finished.keys().isdisjoint(new):
            again = [key for key in new if key in finished]
            self._again.update(again)
            size -= sum(len(finished[key][2]) for key in again)
        finished.update(new)
        order.extend(new)
        self._held += size
        while order and (
            len(finished) > self.entries
            or self._held > self.bytes
            or order[0] in self._again
            or now_s - finished[order[0]][1] > self.age_s
        ):
            self._drop(order.popleft())

    def _drop(self, key: Key) -> None:
        if key not in self._again:
            self._held -= len(self._finished.pop(key)[2])
        elif self._again[key] > 1:
            self._again[key] -= 1
        else:
            del self._again[key]
