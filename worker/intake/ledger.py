"""A worker's memory: what runs here, and what it lately finished. Pure; the clock is a parameter.

A delivery of a task that is finished is answered from memory, one of a task that runs is joined to the run:
so a redelivery, and a dispatcher that asks again, do not run a task twice in one worker.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING

from protocol.names import ID_LENGTH
from protocol.reply import DONE, PackedReply
from protocol.task import Task
from worker.intake.batch import Part
from worker.intake.delivery import Delivery

if TYPE_CHECKING:
    from worker.intake.whole import Whole

#: What tells a task from others: see ``key_of``.
Key = str


#: The type of the reply, when it was finished, and the reply's body.
_Finished = tuple[str, float, bytes]
_Bodies = Sequence[bytes]


def key_of(task: Task) -> Key:
    """Its id, and how often a person has replayed it, if ever: each replay has an end of its own."""
    return f"{task.id}.{task.replay}" if task.replay else task.id


@dataclass(slots=True, eq=False)
class Running:
    """A task that runs here, with every delivery of it that waits for its end."""

    task: Task
    deliveries: list[Delivery | Part]
    #: The address that was asked from last wins: an older one belongs to a channel that is gone. What was asked
    #: last need not arrive last (two copies in the delay line fall due together), so ``resent`` decides.
    reply_to: str | None
    resent: int = 0
    #: Whether who asked last reads joined replies.
    joined_replies: bool = False
    #: Called once, when all is done about it that will be done here, or a breaker holds it.
    on_over: Callable[[], None] | None = None
    #: By a breaker: it does not run.
    is_held: bool = False

    def join(self, delivery: Delivery | Part, task: Task) -> None:
        self.deliveries.append(delivery)
        if self.is_held and task.attempt > self.task.attempt:
            # Meanwhile another worker ran it, and it failed there.
            self.task = task
        if task.resent >= self.resent:
            self.reply_to, self.resent = task.reply_to, task.resent
            self.joined_replies = task.joined_replies

    def tell_over(self) -> None:
        """Call ``on_over``."""
        if self.on_over is not None:
            told, self.on_over = self.on_over, None
            told()

    @property
    def key(self) -> Key:
        return key_of(self.task)

    @property
    def is_live(self) -> bool:
        """Whether any delivery can still be settled. If none can, the broker delivers the task again."""
        return any(delivery.is_live for delivery in self.deliveries)


@dataclass(slots=True)
class Ledger:
    """Bounded by number, age and bytes of the replies it keeps; the oldest go first."""

    entries: int
    age_s: float
    bytes: int
    _running: dict[Key, Running | Whole] = field(default_factory=dict)
    _finished: dict[Key, _Finished] = field(default_factory=dict)
    #: The keys of these, oldest first; of one that was finished again the earlier places count for nothing.
    _order: deque[Key] = field(default_factory=deque)
    _again: Counter[Key] = field(default_factory=Counter)
    _held: int = 0

    def find(self, key: Key, now_s: float) -> Running | Whole | PackedReply | None:
        """What runs, or the reply to what is finished."""
        running = self._running.get(key)
        if running is not None:
            return running
        finished = self._finished.get(key)
        if finished is None or now_s - finished[1] > self.age_s:
            return None
        return PackedReply(id=key[:ID_LENGTH], type=finished[0], body=finished[2])

    def knows_any(self, keys: Iterable[Key]) -> bool:
        """Whether one of these runs, or was finished."""
        return not (self._running.keys().isdisjoint(keys) and self._finished.keys().isdisjoint(keys))

    def start(self, key: Key, running: Running) -> None:
        self._running[key] = running

    def start_all(self, keys: Iterable[Key], whole: Whole) -> None:
        self._running.update(dict.fromkeys(keys, whole))

    def forget(self, key: Key, running: Running) -> None:
        """The run is over and nothing is to be remembered of it. Harmless if that was said before."""
        if self._running.get(key) is running:
            del self._running[key]

    def finish(self, key: Key, running: Running, reply: PackedReply, now_s: float) -> None:
        """Remember how the task ended. From now on its deliveries are answered from memory."""
        self.forget(key, running)
        self._remember({key: (reply.type, now_s, reply.body)}, len(reply.body), now_s)

    def finish_all(self, keys: Sequence[Key], bodies: _Bodies, now_s: float) -> None:
        """The same for tasks of a whole that went well, with the bodies of their replies."""
        for key in keys:
            self._running.pop(key, None)
        finished = zip(repeat(DONE), repeat(now_s), bodies, strict=False)
        self._remember(dict(zip(keys, finished, strict=True)), sum(map(len, bodies)), now_s)

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
