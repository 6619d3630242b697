"""A worker's memory: what runs here, and what it lately finished. Pure; the clock is a parameter.

A delivery of a task that is finished is answered from memory, one of a task that runs is joined to the run:
so a redelivery, and a dispatcher that asks again, do not run a task twice in one worker.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from protocol.reply import PackedReply
from protocol.task import Task
from worker.batch import Part
from worker.delivery import Delivery

#: A task's id, and how often a person has replayed it.
Key = tuple[str, int]


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
        return self.task.id, self.task.replay

    @property
    def is_live(self) -> bool:
        """Whether any delivery can still be settled. If none can, the broker delivers the task again."""
        return any(delivery.is_live for delivery in self.deliveries)


@dataclass(slots=True)
class Finished:
    """The reply that ended a task."""

    reply: PackedReply
    at_s: float


@dataclass(slots=True)
class Ledger:
    """Bounded by number, age and bytes of the replies it keeps; the oldest go first."""

    entries: int
    age_s: float
    bytes: int
    _running: dict[Key, Running] = field(default_factory=dict)
    _finished: OrderedDict[Key, Finished] = field(default_factory=OrderedDict)
    _held: int = 0

    def find(self, key: Key, now_s: float) -> Running | Finished | None:
        running = self._running.get(key)
        if running is not None:
            return running
        finished = self._finished.get(key)
        return finished if finished is not None and now_s - finished.at_s <= self.age_s else None

    def start(self, key: Key, running: Running) -> None:
        self._running[key] = running

    def forget(self, key: Key, running: Running) -> None:
        """The run is over and nothing is to be remembered of it. Harmless if that was said before."""
        if self._running.get(key) is running:
            del self._running[key]

    def finish(self, key: Key, running: Running, reply: PackedReply, now_s: float) -> None:
        """Remember how the task ended. From now on its deliveries are answered from memory."""
        finished = self._finished
        self.forget(key, running)
        if key in finished:
            self._drop(key)
        finished[key] = Finished(reply, now_s)
        self._held += len(reply.body)
        while finished:
            oldest = next(iter(finished))
            is_full = len(finished) > self.entries or self._held > self.bytes
            if not is_full and now_s - finished[oldest].at_s <= self.age_s:
                return
            self._drop(oldest)

    def _drop(self, key: Key) -> None:
        self._held -= len(self._finished.pop(key).reply.body)
