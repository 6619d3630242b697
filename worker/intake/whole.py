"""A batch that runs as a whole: whatever keeps account of its tasks has one entry for all of them.

What happens to one of them alone (it does not end well, it is asked for again, it has to go by itself) singles it
out: from then on it is a ``Running`` like any other. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from protocol.batch import read_batch
from protocol.limits import Limits
from protocol.reply import DONE, PackedReply
from worker.intake.batch import Batch, Part
from worker.intake.ledger import Ledger, Running


@dataclass(slots=True, eq=False)
class Whole:
    """Its batch, and the arguments of each of its tasks by their ids."""

    batch: Batch
    arguments: dict[str, dict[str, Any]]
    _ledger: Ledger
    _limits: Limits
    #: Those that were singled out.
    singles: dict[str, Running] = field(default_factory=dict)
    _packed: dict[str, bytes] = field(default_factory=dict)

    def single_out(self, task_id: str) -> Running:
        """The run of one of its tasks; from now on the ledger knows it as such."""
        running = self.singles.get(task_id)
        if running is None:
            if not self._packed:
                task = self.batch.task
                self._packed = dict(read_batch(task.body, task.batch, self._limits))
            task = self.batch.task_of(task_id, self._packed[task_id])
            running = Running(task, [Part(self.batch)], task.reply_to, task.resent, task.joined_replies)
            self.singles[task_id] = running
            self._ledger.start(running.key, running)
        return running


@dataclass(slots=True, eq=False)
class Share:
    """Tasks of a whole that went well together: their ids, and their replies in the same order."""

    whole: Whole
    ids: list[str]
    bodies: list[bytes]

    @property
    def size(self) -> int:
        """Bytes of all replies."""
        return sum(map(len, self.bodies))

    def within(self, most_bytes: int) -> Iterator[Share]:
        """The same in portions of at most so many bytes, or of one."""
        if len(self.ids) == 1 or self.size <= most_bytes:
            yield self
            return
        half = len(self.ids) // 2
        yield from Share(self.whole, self.ids[:half], self.bodies[:half]).within(most_bytes)
        yield from Share(self.whole, self.ids[half:], self.bodies[half:]).within(most_bytes)

    def singled_out(self) -> Iterator[tuple[Running, PackedReply]]:
        """Each by itself."""
        for task_id, body in zip(self.ids, self.bodies, strict=True):
            yield self.whole.single_out(task_id), PackedReply(id=task_id, type=DONE, body=body)

    def without_singles(self) -> tuple[Share, list[tuple[Running, PackedReply]]]:
        """Those of which that is not known yet, and those that were singled out meanwhile."""
        singles = self.whole.singles
        if singles.keys().isdisjoint(self.ids):
            return self, []
        left, alone = Share(self.whole, [], []), Share(self.whole, [], [])
        for task_id, body in zip(self.ids, self.bodies, strict=True):
            share = alone if task_id in singles else left
            share.ids.append(task_id)
            share.bodies.append(body)
        return left, list(alone.singled_out())
