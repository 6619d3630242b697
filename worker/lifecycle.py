"""The life of a task in a worker, from its delivery to the ack: the order of effects that keeps tasks.

Three events move it on. ``taken``: admit it, or bury it; finished here before: answer from memory; running here:
join; else run it. ``ended``: if it is done, its reply goes out. ``replied``: the reply is confirmed: remember,
then ack. The ack is always last.

Every delivery is a batch, and most hold one task. What does not go well leaves its batch as a ``Solo`` and goes on
in ``worker.settlement.failures``: a copy into the delay line, confirmed, ack; or a dead letter, confirmed, reply,
confirmed, remember, ack. What goes well goes by callbacks, because a coroutine for each task costs more than all
the rest; a failure is a coroutine, and may wait.

A delivery whose channel is gone is *stale*: the broker hands the task out again. Then what is done is still
answered and remembered, so that the next delivery is answered from memory; what failed is left to that one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from broker.config.settings import Settings
from broker.errors import PublishError
from broker.metrics import Family
from protocol.errors import Malformed
from protocol.reply import DONE, PackedReply, done_bodies
from protocol.task import Task
from worker.execution.executor import Executor, Result
from worker.execution.outcome import Done, Outcome
from worker.execution.runner import Runner
from worker.in_progress import InProgress
from worker.intake.admission import Admission
from worker.intake.batch import Batch, Solo, read_delivery
from worker.intake.delivery import Delivery
from worker.intake.ledger import Ledger
from worker.intake.quarantine import Quarantine
from worker.settlement.failures import Failures
from worker.settlement.outbox import Outbox
from worker.settlement.publishing import Publishing
from worker.settlement.replies import Replies
from worker.settlement.reply_buffer import Portion, ReplyBuffer
from worker.settlement.settler import Settler
from worker.telemetry.log_fields import log_done
from worker.telemetry.meter import Meter, RunFacts

if TYPE_CHECKING:
    from worker.steering.obedience import Obedience


class Lifecycle:
    """``taken`` → ``ended`` → ``replied``, for each delivery of a work queue."""

    def __init__(
        self,
        settings: Settings,
        identity: str,
        executors: Mapping[str, Executor],
        outbox: Outbox,
        limit: int | None,
        on_defect: Callable[[BaseException], None],
    ) -> None:
        """``executors`` maps each task of this worker to what runs it; ``identity`` is ``host:pid``; ``limit``:
        how many may run at once where the executors do not bound it; ``on_defect`` gets an error of ours."""
        limits = settings.limits
        self.limits = limits.messages
        self.identity = identity
        self._admission = Admission(settings.tasks, self.limits, settings.replies)
        self._replies = Replies(outbox, identity, self.limits, mailboxes_only=settings.replies == "mailbox")
        self.ledger = Ledger(limits.ledger_entries, limits.ledger_age_s, limits.ledger_bytes)
        self._in_progress = InProgress(on_defect)
        self._meter = Meter(executors)
        self._settler = Settler(self.ledger, self._meter, self._in_progress)
        publishing = Publishing(settings, identity, outbox, self._replies, self._meter)
        self.failures = Failures(settings, publishing, self._settler, self._meter)
        self._buffer = ReplyBuffer(self._replies, outbox, self.limits, self.replied)
        self.runner = Runner(settings, executors, limit, self)
        self.outbox = outbox
        delivery_limits = {name: queue.delivery_limit for name, queue in settings.queues.items()}
        self._quarantine = Quarantine(delivery_limits, partial(self.taken, in_turn=True))
        self.log_tasks = settings.worker.log_tasks
        self._stopped = False
        #: As soon as anything is paused, cancelled or watched: ``worker.steering.steered`` sees to it.
        self.obedience: Obedience | None = None

    @property
    def counts(self) -> Counter[str]:
        """What became of deliveries."""
        return self._meter.counts

    @property
    def busy(self) -> int:
        """Tasks that run."""
        return self.runner.busy

    def metered(self) -> list[Family]:
        """What was counted, and the breakers."""
        return [*self._meter.families(), *self.runner.families()]

    @property
    def open(self) -> int:
        """What is not over: tasks that run or wait for it, and whatever else is being done about a delivery."""
        return self._in_progress.count

    def taken(self, delivery: Delivery, *, in_turn: bool = False) -> None:
        """It came by a work queue. What came back too often waits for its turn in quarantine. A batch that came
        before is split: what ended its worker then must not end it again together with all the others."""
        if delivery.redelivered and not in_turn and self._quarantine.suspects(delivery):
            self.spawn(self._quarantine.in_turn(delivery))
            return
        self._meter.counts["delivered"] += 1
        try:
            task = self._admission.admit(delivery.properties, delivery.body, delivery.queue)
            self._replies.require_answerable(task.reply_to)
            batch = read_delivery(delivery, task, self.limits)
        except Malformed as refusal:
            if self.obedience is not None:
                self.obedience.takes_other(delivery)
            self.spawn(self.failures.refuse(delivery, refusal))
            return
        is_known = self.ledger.knows_any(batch.keys)
        if self.obedience is not None:
            is_known = self.obedience.takes(batch, is_known=is_known)
        if is_known or (task.batch and delivery.redelivered):
            self._take_one_by_one(batch)
            return
        self.ledger.start(batch.keys, batch)
        self._in_progress.tasks += len(batch.ids)
        self.runner.submit(batch)

    def _take_one_by_one(self, batch: Batch) -> None:
        """What is finished here is answered, what runs here is joined; the rest runs, or is split."""
        fresh: list[Solo] = []
        for position, key in enumerate(batch.keys):
            match self.ledger.find(key, time.monotonic()):
                case PackedReply() as reply:
                    self.spawn(self.failures.answer_again(batch, batch.task.reply_to, reply))
                case Batch() as running:
                    task = batch.task_at(position, self.limits)
                    self._meter.ended(task.name, "joined")
                    running.single_out(running.keys.index(key), self.limits).join(batch, task)
                case None:
                    fresh.append(batch.single_out(position, self.limits))
        is_split = batch.task.batch and batch.delivery.redelivered
        if is_split:
            obedience = self.obedience
            cancelled = [solo for solo in fresh if obedience is not None and obedience.cancel_of(solo.task)]
            self.spawn(self.failures.split([solo for solo in fresh if solo not in cancelled]))
            fresh = cancelled
        for solo in fresh:
            self.ledger.start((solo.key,), batch)
            self._in_progress.tasks += 1
            if self.obedience is None or not self.obedience.ends(solo):
                self.runner.submit(solo)

    def ended(self, batch: Batch, results: Sequence[Result]) -> None:
        """Tasks of it ran, one after another: those that are done are answered, the others are singled out."""
        done = [one for one in results if type(one[1]) is Done and one[0] not in batch.solos]
        if done:
            positions = [position for position, _, _ in done]
            facts = self._note_runs(batch, batch.task, [ran_s for _, _, ran_s in done])
            packed = [outcome.result for _, outcome, _ in done if isinstance(outcome, Done)]
            bodies = done_bodies([batch.ids[position] for position in positions], packed, facts.runs)
            for position, _, ran_s in done if self.log_tasks else ():
                log_done(batch.ids[position], batch.task, batch.delivery.queue, self.identity, ran_s)
            self._buffer.add((batch, positions, bodies))
        if len(done) < len(results):
            answered = {position for position, _, _ in done}
            for position, outcome, ran_s in results:
                if position not in answered and outcome is not None:
                    self.ended_alone(batch.single_out(position, self.limits), outcome, ran_s)

    def ended_alone(self, solo: Solo, outcome: Outcome, ran_s: float) -> None:
        """A task by itself ran: it is answered if it is done, else it goes to ``failures``."""
        facts = self._note_runs(solo.home, solo.task, [ran_s])
        if isinstance(outcome, Done):
            bodies = done_bodies([solo.task.id], [outcome.result], facts.runs)
            if self.log_tasks:
                log_done(solo.task.id, solo.task, solo.home.delivery.queue, self.identity, ran_s)
            self._buffer.add((solo, (solo.position,), bodies))
        elif self.obedience is None or not self.obedience.ends(solo, facts.runs[0]):
            self.spawn(self.failures.failed(solo, outcome, facts.runs[0], int(1000 * facts.began_s)))

    def _note_runs(self, batch: Batch, task: Task, ran_s: Sequence[float]) -> RunFacts:
        facts = self._meter.ran(task, self.identity, batch.ran_s, ran_s, time.time())
        flow, all_s = batch.delivery.flow, sum(ran_s)
        batch.ran_s += all_s
        flow.ran += len(ran_s) / len(batch.ids)
        flow.ran_s += all_s
        return facts

    def replied(self, reply_to: str | None, portions: Sequence[Portion], problem: PublishError | None) -> None:
        """A message with these replies was confirmed: remember → ack. Or it was not, and they are sent again for
        as long as it takes; so is one that was asked for from another address meanwhile."""
        if self._stopped:
            return
        # Of many together none is to blame for a connection that ended.
        blame = problem if len(portions) == len(portions[0][1]) == 1 else None
        for owner, positions, bodies in portions:
            if isinstance(owner, Batch) and problem is None and not owner.solos:
                self._meter.ended(owner.task.name, "done", count=len(positions))
                keys = owner.keys if len(positions) == len(owner.keys) else [owner.keys[p] for p in positions]
                self._settler.close(owner, keys, DONE, bodies)
                continue
            for position, body in zip(positions, bodies, strict=True):
                self._replied_alone(owner, position, body, reply_to, problem is None, blame)

    def _replied_alone(
        self,
        owner: Batch | Solo,
        position: int,
        body: bytes,
        reply_to: str | None,
        is_confirmed: bool,
        blame: PublishError | None,
    ) -> None:
        solo = owner.single_out(position, self.limits) if isinstance(owner, Batch) else owner
        if is_confirmed and solo.reply_to == reply_to:
            self._meter.ended(solo.task.name, "done")
            self._settler.close_solo(solo, DONE, body)
        else:
            reply = PackedReply(id=solo.task.id, type=DONE, body=body)
            self.spawn(self.failures.insist(solo, reply, blame))

    def postpone(self, solo: Solo, delay_s: float) -> None:
        """A breaker tried it in vain."""
        self.spawn(self.failures.postpone(solo, delay_s))

    def give_back(self, work: Batch | Solo) -> None:
        """It has not begun, or has to begin again. A task of a batch goes by itself: the others of its batch may
        have ended."""
        for key in work.keys if isinstance(work, Batch) else (work.key,):
            self.ledger.forget(key, work if isinstance(work, Batch) else work.home)
        for share in (work,) if isinstance(work, Batch) else work.shares:
            if share is work or len(share.ids) == 1:
                share.delivery.nack()
                share.delivery.over()
            else:
                position = share.ids.index(work.task.id)
                self.spawn(self.failures.split([share.single_out(position, self.limits)]))
        if isinstance(work, Solo):
            work.over()
        self._in_progress.end(len(work.ids) if isinstance(work, Batch) else 1)

    def give_back_surplus(self, queue: str, before: int, few: int | None) -> None:
        """Give back what came by this queue before a look and has not begun, but for what came back often, or as
        often as ``few``."""

        def goes_back(work: Batch | Solo) -> bool:
            delivery = (work if isinstance(work, Batch) else work.home).delivery
            if (
                delivery.queue != queue
                or delivery.looks >= before
                or not self._quarantine.may_return(delivery, few)
            ):
                return False
            self.give_back(work)
            return True

        self.runner.review(goes_back)

    def over(self, solo: Solo) -> None:
        """Nothing more is done about it here."""
        self._settler.over(solo)

    def obituary(self, delivery: Delivery) -> None:
        """The broker buried a task: report that to its requester."""
        if self.obedience is not None:
            self.obedience.takes_other(delivery)
        self.spawn(self.failures.obituary(delivery))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something about a delivery that takes its time."""
        self._in_progress.spawn(work)

    def drain(self) -> None:
        """Begin nothing any more; what has not begun is held until ``give_back_held``."""
        self.runner.drain()

    def give_back_held(self) -> None:
        """Give back what is held, and what comes from now on."""
        self.runner.give_back_held()

    async def finish(self) -> None:
        """Return once nothing is open."""
        await self._in_progress.finish()

    async def stop(self) -> None:
        """Do nothing any more about anything. What is unsettled stays so."""
        self._stopped = True
        self.runner.stop()
        await self._in_progress.stop()
