"""A delivery that holds many tasks. Each of them ends by itself; the delivery is acked with the last of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from protocol.task import Task
from worker.intake.delivery import Delivery


@dataclass(slots=True, eq=False)
class Batch:
    """Its delivery, and how many of its tasks are not settled."""

    delivery: Delivery
    #: The message as a task: what its tasks have in common.
    task: Task
    left: int
    _ran_s: float = 0.0

    def task_of(self, task_id: str, arguments: bytes) -> Task:
        """One of its tasks, as if it had come by itself."""
        common = self.task
        return Task(
            id=task_id,
            name=common.name,
            body=arguments,
            reply_to=common.reply_to,
            timestamp=common.timestamp,
            sent_at=common.sent_at,
            expires_at=common.expires_at,
            resent=common.resent,
            joined_replies=common.joined_replies,
            trace=common.trace,
        )

    def settled(self, count: int = 1) -> bool:
        """So many more of its tasks are settled: ack with the last. False if the delivery's channel is gone."""
        if not self.delivery.is_live:
            return False
        self.left -= count
        return bool(self.left) or self.delivery.ack()

    def ran_ms(self, ran_s: float) -> int:
        """How long a task of it ran, rounded so that the sum over the batch is right."""
        return self.ran_all_ms((ran_s,))[0]

    def ran_all_ms(self, ran_s: Sequence[float]) -> list[int]:
        """The same for many that ran one after another."""
        sums = [*accumulate(ran_s, initial=self._ran_s)]
        self._ran_s = sums[-1]
        # Add one half and cut: as ``round``, and twice as fast.
        told_ms = [int(1000 * sum_s + 0.5) for sum_s in sums]
        return [later - earlier for earlier, later in pairwise(told_ms)]


@dataclass(slots=True, eq=False)
class Part:
    """One task's share of a batch: settled as a delivery is."""

    batch: Batch
    is_settled: bool = False

    @property
    def queue(self) -> str:
        return self.batch.delivery.queue

    @property
    def is_live(self) -> bool:
        return not self.is_settled and self.batch.delivery.is_live

    def ack(self) -> bool:
        """Settle for good; False if it was settled before or the delivery's channel is gone."""
        if not self.is_live:
            return False
        self.is_settled = True
        return self.batch.settled()
