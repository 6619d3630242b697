"""What a worker does about tasks that must not run now: their queue is paused, or they are cancelled."""

from __future__ import annotations

import time
from collections.abc import Collection, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from broker.control.state import State
from protocol.control import Cancel, End
from protocol.errors import ErrorCode
from protocol.limits import Limits
from protocol.reply import DONE, Failure, PackedReply, Reply, Run, read_replies
from protocol.task import Task
from worker.execution.runner import Runner
from worker.intake.batch import Batch, Solo
from worker.intake.delivery import Delivery
from worker.settlement.failures import Failures

if TYPE_CHECKING:
    from worker.steering.watching import Watching


def end_of(reply: PackedReply | None, limits: Limits) -> End:
    """What became of a task; None: nothing yet."""
    if reply is None:
        return End.UNACKED
    if reply.type == DONE:
        return End.DONE
    match read_replies(reply.body, limits):
        case [Reply(failure=Failure(code=ErrorCode.CANCELLED))]:
            return End.CANCELLED
        case _:
            return End.FAILED


class Owner(Protocol):
    """Has the tasks."""

    def give_back(self, work: Batch | Solo) -> None:
        """It did not begin, and is to come again."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something about a delivery that takes its time."""


class Obedience:
    """Life: ``begin`` → for each task that comes ``cancels_any``, for each that ends without success ``ends``."""

    def __init__(
        self,
        owner: Owner,
        runner: Runner,
        failures: Failures,
        identity: str,
        paused: Collection[str],
        state: State,
    ) -> None:
        self._owner = owner
        self._runner = runner
        self._failures = failures
        self._identity = identity
        self._paused = paused
        self._state = state
        #: As long as somebody watches.
        self.watching: Watching | None = None

    def begin(self, running: Mapping[str, Task], limits: Limits) -> None:
        """See to what has not begun, and stop what is cancelled of what has. ``running``: tasks that are here by
        their ids; one of a batch has the batch in its place."""
        self._limits = limits
        self._runner.sees_to = self.sees_to if self._paused or self._state.has_cancels else None
        self._runner.review()
        if ids := {task_id for task_id, task in running.items() if self.cancel_of(task, task_id)}:
            self._runner.interrupt(ids)

    def cancel_of(self, task: Task, task_id: str = "") -> Cancel | None:
        """What cancels a task; ``task_id``: it is one of a batch."""
        if not self._state.has_cancels:
            return None
        return self._state.cancel_of(task, task_id or task.id, time.time_ns() // 1_000_000)

    def takes(self, batch: Batch, *, is_known: bool) -> bool:
        """It comes; whether it has to be looked at task by task. ``is_known``: the ledger knows some of them."""
        if self.watching is not None:
            self.watching.takes(batch, is_known=is_known)
        return is_known or self.cancels_any(batch)

    def takes_other(self, delivery: Delivery) -> None:
        """It is no task for this worker."""
        if self.watching is not None:
            self.watching.takes_other(delivery)

    def cancels_any(self, batch: Batch) -> bool:
        return self._state.has_cancels and any(self.cancel_of(batch.task, task_id) for task_id in batch.ids)

    def ends(self, solo: Solo, run: Run | None = None) -> bool:
        """Have a task end, if it is cancelled; ``run``: its last one."""
        if (found := self.cancel_of(solo.task)) is None:
            return False
        run = run or Run(attempts=solo.task.attempt, worker=self._identity, replay=solo.task.replay)
        self._owner.spawn(self._failures.cancel(solo, f"cancelled by {found.by}", run))
        return True

    def sees_to(self, work: Batch | Solo) -> bool:
        """Whether it does not run here now: it goes back, or ends as cancelled."""
        if (work if isinstance(work, Batch) else work.home).delivery.queue in self._paused:
            self._owner.give_back(work)
            return True
        if isinstance(work, Solo):
            return self.ends(work)
        if not self.cancels_any(work):
            return False
        for position in range(len(work.ids)):
            solo = work.single_out(position, self._limits)
            if not self.ends(solo):
                self._runner.submit(solo)
        return True
