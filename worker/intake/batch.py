"""One delivered message and its tasks. Every delivery is a batch, and most hold one task.

The tasks of a batch share one entry in every account that is kept of them. What happens to one of them alone (it
fails, it is asked for again, it has to go by itself) singles it out as a ``Solo``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from protocol.batch import read_batch, read_plain_batch
from protocol.limits import Limits
from protocol.task import Task
from worker.intake.delivery import Delivery

#: Of one task: packed, or decoded together with those of the others.
Arguments = bytes | dict[str, Any]
#: What identifies a task: see ``keys_of``.
Key = str


@dataclass(slots=True, eq=False)
class Batch:
    """A delivery, and its tasks by their positions. The delivery is acked with the last of them."""

    delivery: Delivery
    #: What its tasks have in common; the task itself, if it is one.
    task: Task
    ids: Sequence[str]
    keys: Sequence[Key]
    arguments: Sequence[Arguments]
    #: How many of them are not settled.
    left: int
    #: How long those ran that have run, in seconds.
    ran_s: float = 0.0
    #: Those that were singled out, by position.
    solos: dict[int, Solo] = field(default_factory=dict)
    _packed: list[tuple[str, bytes]] = field(default_factory=list)

    def settle(self, count: int = 1) -> bool:
        """``count`` more of its tasks are settled: ack with the last. False if the delivery's channel is gone."""
        self.left -= count
        if self.left:
            return self.delivery.is_live
        is_acked = self.delivery.ack()
        self.delivery.over()
        return is_acked

    def single_out(self, position: int, limits: Limits) -> Solo:
        """One of its tasks, which from now on goes its own way."""
        solo = self.solos.get(position)
        if solo is None:
            task = self.task_at(position, limits)
            solo = Solo(self, position, task, [self], task.reply_to, task.resent, task.joined_replies)
            self.solos[position] = solo
        return solo

    def task_at(self, position: int, limits: Limits) -> Task:
        common = self.task
        if not common.batch:
            return common
        if not self._packed:
            self._packed = read_batch(common.body, common.batch, limits)
        return Task(
            id=self.ids[position],
            name=common.name,
            body=self._packed[position][1],
            reply_to=common.reply_to,
            timestamp=common.timestamp,
            sent_at=common.sent_at,
            expires_at=common.expires_at,
            resent=common.resent,
            joined_replies=common.joined_replies,
            trace=common.trace,
        )


@dataclass(slots=True, eq=False)
class Solo:
    """One task by itself, with every delivery that waits for its end."""

    home: Batch
    position: int
    task: Task
    #: A share of each: of its home, and of those that came for it while it ran.
    shares: list[Batch]
    #: The address that was asked from last wins: an older one belongs to a channel that is gone. What was asked
    #: last need not arrive last (two copies in the delay line fall due together), so ``resent`` decides.
    reply_to: str | None
    resent: int
    #: Whether the requester that asked last reads joined replies.
    joined_replies: bool
    #: By a breaker: it does not run.
    is_held: bool = False

    @property
    def key(self) -> Key:
        return self.home.keys[self.position]

    @property
    def is_live(self) -> bool:
        """Whether any delivery can still be settled. If none can, the broker delivers the task again."""
        return any(share.delivery.is_live for share in self.shares)

    def join(self, share: Batch, task: Task) -> None:
        """Another delivery of the same task waits for its end as well."""
        self.shares.append(share)
        if self.is_held and task.attempt > self.task.attempt:
            # Meanwhile another worker ran it, and it failed there.
            self.task = task
        if task.resent >= self.resent:
            self.reply_to, self.resent = task.reply_to, task.resent
            self.joined_replies = task.joined_replies

    def release(self) -> None:
        """Nobody need wait for its deliveries: a breaker holds it, or it is over."""
        for share in self.shares:
            share.delivery.over()

    def over(self) -> None:
        """Nothing more is done about it here. It leaves its batch: two that know each other would wait for the
        garbage collector, which a worker calls seldom."""
        self.release()
        self.home.solos.pop(self.position, None)


def read_delivery(delivery: Delivery, task: Task, limits: Limits) -> Batch:
    """The tasks of a delivery. Raises ``Malformed`` for a batch that breaks a rule as a whole."""
    if not task.batch:
        return Batch(delivery, task, (task.id,), keys_of(task), (task.body,), 1)
    plain = None if delivery.redelivered else read_plain_batch(task.body, task.batch, limits)
    if plain is not None:
        ids, arguments = list(plain), list(plain.values())
        return Batch(delivery, task, ids, ids, arguments, len(ids))
    packed = read_batch(task.body, task.batch, limits)
    ids = [task_id for task_id, _ in packed]
    return Batch(delivery, task, ids, ids, [arguments for _, arguments in packed], len(ids), _packed=packed)


def keys_of(task: Task) -> tuple[Key]:
    """Its id, and how often a person has replayed it, if ever: each replay has an end of its own."""
    return (f"{task.id}.{task.replay}",) if task.replay else (task.id,)
