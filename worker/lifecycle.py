"""One delivery from its arrival to its settlement: the order of effects that keeps tasks.

1. Admit it, or bury it. 2. Finished here before: answer from memory. Running here: join. 3. Run the handler.
4. Done: reply, confirmed; remember; ack. Failed, attempts left: copy into the delay line, confirmed; ack. Failed
for good: dead letter, confirmed; reply, confirmed; remember; ack. The ack is always last.

What goes well goes by callbacks, from the delivery to the ack: a coroutine for each task costs more than all the
rest. Everything else (a refusal, a retry, a reply that was not accepted) is a coroutine, and may wait.

A delivery whose channel is gone is *stale*: the broker hands the task out again. Then what is done is still
answered and remembered, so that the next delivery is answered from memory; what failed is left to that one.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from broker.amqp.channel import resolve
from broker.config.settings import Settings
from broker.errors import PublishError
from broker.metrics import Family
from protocol.batch import read_batch
from protocol.dead_letter import why
from protocol.errors import Malformed
from protocol.reply import DONE, Failure, PackedReply, Run, pack_done, pack_failed
from protocol.task import Attempt, Task
from worker.execution.executor import Executor
from worker.execution.handler import Ran
from worker.execution.outcome import Done, Outcome
from worker.execution.runner import Runs
from worker.failpoint import failpoint
from worker.intake.admission import Admission
from worker.intake.batch import Batch, Part
from worker.intake.delivery import Delivery
from worker.intake.ledger import Ledger, Running, key_of
from worker.intake.whole import Whole
from worker.settlement.outbox import Outbox
from worker.settlement.policy import Bury, RetryIn, settle
from worker.settlement.publishing import Publications, headers_of
from worker.settlement.replies import Replies
from worker.settlement.reply_buffer import Answers
from worker.telemetry.meter import Meter
from worker.under_way import UnderWay
from worker.wholes import Wholes

log = logging.getLogger("glassrabbit.worker")


class Attempts:
    """Handles deliveries. ``counts`` tells what became of them."""

    def __init__(
        self,
        settings: Settings,
        identity: str,
        executors: Mapping[str, Executor],
        outbox: Outbox,
        slots: int | None,
        on_defect: Callable[[BaseException], None],
    ) -> None:
        """``executors`` maps each task of this worker to what runs it; ``identity`` is ``host:pid``; ``slots``:
        how many may run at once where the executors do not bound it; ``on_defect`` hears of an error of ours."""
        self._settings = settings
        self._limits = settings.limits.messages
        self._identity = identity
        self._admission = Admission(settings.tasks, self._limits, settings.replies)
        self._runs = Runs(settings, executors, slots, self)
        self._replies = Replies(outbox, identity, self._limits, mailboxes_only=settings.replies == "mailbox")
        limits = settings.limits
        self._ledger = Ledger(limits.ledger_entries, limits.ledger_age_s, limits.ledger_bytes)
        self._under_way = UnderWay(on_defect)
        self.counts: Counter[str] = Counter()
        self.meter = Meter(executors)
        self._answers = Answers(
            self._replies, outbox, self._limits, self._close, lambda share: self._wholes.close(share), self._insist
        )
        self._wholes = Wholes(
            identity,
            self._limits,
            self._runs,
            self._ledger,
            self._answers,
            self._under_way,
            self.meter,
            self.counts,
            self.ended,
        )
        self._publications = Publications(settings, identity, outbox, self._replies, self.counts, self.meter)

    @property
    def busy(self) -> int:
        """Tasks that run."""
        return self._runs.busy

    def metered(self) -> list[Family]:
        """What was counted, and the breakers."""
        return [*self.meter.families(), *self._runs.families()]

    @property
    def open(self) -> int:
        """What is not over: tasks that run or wait for it, and whatever else is being done about a delivery."""
        return self._under_way.count

    def drain(self) -> None:
        """Begin nothing any more; what has not begun is held until ``give_back_held``."""
        self._runs.drain()

    def give_back_held(self) -> None:
        """Give back what is held, and what comes from now on."""
        self._runs.give_back_held()

    async def finish(self) -> None:
        """Return once nothing is open."""
        await self._under_way.finish()

    async def stop(self) -> None:
        """Do nothing any more about anything. What is unsettled stays so."""
        self._runs.stop()
        self._answers.stop()
        await self._under_way.stop()

    async def handle(self, delivery: Delivery) -> None:
        """Take a delivery of a work queue to its settlement; a batch only on its way."""
        match self.take(delivery):
            case Running(is_held=False) as running:
                over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                running.on_over = partial(resolve, over, None)
                await over
            case asyncio.Task() as task:
                await asyncio.wait({task})

    def take(self, delivery: Delivery) -> Running | asyncio.Task[None] | None:
        """The same, without waiting; what there is to wait for."""
        self.counts["delivered"] += 1
        try:
            task = self._admission.admit(delivery.properties, delivery.body, delivery.queue)
            self._replies.require_answerable(task.reply_to)
            if task.batch and self._wholes.take(delivery, task):
                return None
            entries = read_batch(task.body, task.batch, self._limits) if task.batch else None
        except Malformed as refusal:
            return self._under_way.spawn(self._bury_malformed(delivery, refusal))
        if entries is not None:
            return self._take_batch(Batch(delivery, task, len(entries)), entries)
        known = self._known(delivery, task)
        if known is not None:
            return known
        running = self._start(delivery, task)
        self._runs.submit([running])
        return running

    def _take_batch(self, batch: Batch, entries: list[tuple[str, bytes]]) -> asyncio.Task[None] | None:
        """A batch that is not run as a whole: its tasks are run one after another. One that came before is split:
        what ended its worker then must not end it again together with all the others."""
        fresh, singles = [], []
        for task_id, arguments in entries:
            part, task = Part(batch), batch.task_of(task_id, arguments)
            if self._known(part, task) is not None:
                continue
            if batch.delivery.redelivered:
                singles.append((part, task))
            else:
                fresh.append(self._start(part, task))
        if fresh:
            self._runs.submit(fresh)
        return self._under_way.spawn(self._split(singles)) if singles else None

    def _known(self, delivery: Delivery | Part, task: Task) -> Running | asyncio.Task[None] | None:
        """Answer or join what is finished or runs here already; None if the task is new here."""
        found = self._ledger.find(key_of(task), time.monotonic())
        if isinstance(found, Whole):
            found = found.single_out(task.id)
        match found:
            case PackedReply() as reply:
                return self._under_way.spawn(self._answer_again(delivery, task, reply))
            case Running() as running:
                self.counts["joined"] += 1
                self.meter.ended(task.name, "joined")
                running.join(delivery, task)
                return running
            case None:
                return None

    def _start(self, delivery: Delivery | Part, task: Task) -> Running:
        running = Running(task, [delivery], task.reply_to, task.resent, task.joined_replies)
        self._ledger.start(running.key, running)
        self._under_way.begin()
        return running

    def ended(self, running: Running, outcome: Outcome, ran_s: float) -> None:
        """A run has ended: decide, and carry it out."""
        task, now_ms, first = running.task, time.time_ns() // 1_000_000, running.deliveries[0]
        batch = first.batch if isinstance(first, Part) else None
        took_ms = round(ran_s * 1000)
        ran_ms = took_ms if batch is None else batch.ran_ms(ran_s)
        started_ms = now_ms - took_ms
        self.meter.ran(task, started_ms, ran_s)
        run = Run(
            attempts=task.attempt,
            worker=self._identity,
            queued_ms=started_ms - task.sent_at if 0 < task.sent_at < started_ms else 0,
            ran_ms=ran_ms,
            replay=task.replay,
        )
        if isinstance(outcome, Done):
            self._answers.add(running, pack_done(task.id, outcome.result, run), batch)
            return
        retry = self._settings.tasks[task.name].retry
        settlement = settle(outcome, task, retry, now_ms=now_ms, chance=random.random())
        last = Attempt(
            attempt=task.attempt,
            error="",
            text="",
            worker=self._identity,
            started_ms=started_ms,
            ran_ms=ran_ms,
        )
        self._under_way.spawn(self._carry_out(settlement, running, run, last))

    def ended_of_whole(self, whole: Whole, ended: list[Ran]) -> None:
        """Runs of a batch have ended, which is run as a whole."""
        self._wholes.ended(whole, ended)

    def postpone(self, running: Running, delay_s: float) -> None:
        """A copy at the end of its queue, confirmed → ack."""
        self._under_way.spawn(self._postpone(running, delay_s))

    def _close(self, running: Running, reply: PackedReply) -> None:
        """Remember → ack."""
        if reply.type == DONE:
            self.counts["done"] += 1
            self.meter.ended(running.task.name, "done")
        self._ledger.finish(running.key, running, reply, time.monotonic())
        failpoint("after_remember")
        self._ack(running)
        self._under_way.end()
        running.tell_over()

    def give_back(self, running: Running) -> None:
        """It has not begun, or has to begin anew. A task of a batch goes by itself: the others of its batch may
        have ended."""
        self._ledger.forget(running.key, running)
        for delivery in running.deliveries:
            if isinstance(delivery, Part):
                self._under_way.spawn(self._split([(delivery, running.task)]))
            else:
                delivery.nack()
        self.over(running)

    def over(self, running: Running) -> None:
        """All is done about it that will be done here."""
        self._ledger.forget(running.key, running)
        self._under_way.end()
        running.tell_over()

    def take_obituary(self, obituary: Delivery) -> None:
        """Tell the requester of a task that the broker buried, and ack."""
        self._under_way.spawn(self._tell(obituary))

    def in_its_turn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that will ``handle`` a delivery."""
        self._under_way.spawn(work)

    async def _tell(self, obituary: Delivery) -> None:
        """Tell the requester of a task that the broker buried; publish nothing else. Then ack."""
        verdict = why(obituary.exchange, obituary.routing_key, headers_of(obituary))
        # The letter is in its dead queue already: nothing but the reply is published from here.
        await self._publications.tell_requester(
            obituary, Failure(code=verdict.code, type=verdict.code, text=verdict.text), None
        )
        self.counts["obituaries"] += 1
        fields = {"task_id": obituary.properties.message_id, "queue": obituary.queue}
        log.info("task %s: told its requester: %s", fields["task_id"], verdict.code, extra=fields)
        self._settle(obituary)

    async def _carry_out(self, settlement: RetryIn | Bury, running: Running, run: Run, last: Attempt) -> None:
        """Whatever follows from a run that was not done."""
        try:
            match settlement:
                case RetryIn():
                    # A delivery that joins from here on brings a live reply address: it is run by itself.
                    self._ledger.forget(running.key, running)
                    if await self._publications.retry(running, settlement, last):
                        self._ack(running)
                case Bury():
                    last = replace(last, error=settlement.error, text=settlement.text)
                    if await self._publications.bury(running, settlement, last):
                        failure = Failure(code=settlement.code, type=settlement.error, text=settlement.text)
                        reply = pack_failed(running.task.id, failure, run, self._limits)
                        await self._reply_to_the_last(running, reply)
                        self._ledger.finish(running.key, running, reply, time.monotonic())
                        failpoint("after_remember")
                        self._ack(running)
                case _:
                    assert_never(settlement)
        finally:
            self.over(running)

    async def _postpone(self, running: Running, delay_s: float) -> None:
        self._ledger.forget(running.key, running)
        try:
            if await self._publications.postpone(running, delay_s):
                self._ack(running)
        finally:
            self.over(running)

    def _insist(self, running: Running, reply: PackedReply, problem: PublishError | None) -> None:
        self._under_way.spawn(self._finish(running, reply, problem))

    async def _finish(self, running: Running, reply: PackedReply, problem: PublishError | None) -> None:
        """Reply, confirmed, for as long as that takes → remember → ack."""
        await self._reply_to_the_last(running, reply, problem)
        self._close(running, reply)

    async def _reply_to_the_last(
        self, running: Running, reply: PackedReply, problem: PublishError | None = None
    ) -> None:
        """Send a reply. An address that came meanwhile gets it as well."""
        queue = self._settings.tasks[running.task.name].queue
        while True:
            reply_to = running.reply_to
            await self._publications.reply(reply_to, reply, queue, problem)
            if running.reply_to == reply_to:
                return
            problem = None

    async def _split(self, singles: list[tuple[Part, Task]]) -> None:
        """Each by itself, confirmed; then ack."""

        async def split(part: Part, task: Task) -> None:
            if await self._publications.single(task, part):
                self._settle(part)

        async with asyncio.TaskGroup() as group:
            for part, task in singles:
                group.create_task(split(part, task))

    async def _bury_malformed(self, delivery: Delivery, refusal: Malformed) -> None:
        if await self._publications.bury_malformed(delivery, refusal):
            self._settle(delivery)

    async def _answer_again(self, delivery: Delivery | Part, task: Task, reply: PackedReply) -> None:
        self.counts["answered_again"] += 1
        self.meter.ended(task.name, "answered_again")
        await self._publications.reply(task.reply_to, reply, delivery.queue)
        self._settle(delivery)

    def _ack(self, running: Running) -> None:
        for delivery in running.deliveries:
            self._settle(delivery)

    def _settle(self, delivery: Delivery | Part) -> None:
        if not delivery.ack():
            self.counts["stale"] += 1
            first = delivery.batch.delivery if isinstance(delivery, Part) else delivery
            self.meter.ended(first.properties.type, "stale")
        failpoint("after_ack")
