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
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from broker.channel import resolve
from broker.errors import PublishError
from broker.metrics import Family
from broker.settings import Settings
from protocol.batch import join_replies, read_batch
from protocol.errors import Malformed
from protocol.letter import why
from protocol.reply import DONE, Failure, PackedReply, Run, pack_done, pack_failed
from protocol.task import Attempt, Task
from worker.admission import admit
from worker.batch import Batch, Part
from worker.context import Current
from worker.delivery import Delivery
from worker.executor import Executor
from worker.failpoint import failpoint
from worker.guard import Guards, Kept
from worker.handler import Call, fallback_of
from worker.ledger import Finished, Ledger, Running
from worker.meter import Meter
from worker.outbox import Outbox
from worker.outcome import Outcome
from worker.publications import Publications, headers_of
from worker.replies import Replies
from worker.settlement import Answer, Bury, RetryIn, settle
from worker.slots import Slots
from worker.under_way import UnderWay

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
        self._executors = executors
        self._outbox = outbox
        self._slots = Slots(slots, lambda calls: executors[calls[0].context.task].submit(calls))
        self._guards = Guards(settings, executors, self._begin, self._over, self._take_back)
        self._replies = Replies(outbox, identity, self._limits, mailboxes_only=settings.replies == "mailbox")
        limits = settings.limits
        self._ledger = Ledger(limits.ledger_entries, limits.ledger_age_s, limits.ledger_bytes)
        self._under_way = UnderWay(on_defect)
        self._draining = False
        self._holding = True
        self._held: list[Running] = []
        self._stopped = False
        self.counts: Counter[str] = Counter()
        self.meter = Meter(executors)
        self._publications = Publications(settings, identity, outbox, self._replies, self.counts, self.meter)

    @property
    def busy(self) -> int:
        """Tasks that run."""
        return sum(executor.busy for executor in set(self._executors.values()))

    def metered(self) -> list[Family]:
        """What was counted, and the breakers."""
        return [*self.meter.families(), *self._guards.families()]

    @property
    def open(self) -> int:
        """What is not over: tasks that run or wait for it, and whatever else is being done about a delivery."""
        return self._under_way.count

    def drain(self) -> None:
        """Begin nothing any more. What has not begun is held until ``give_back``: given back while the consumers
        are there it would come again at once."""
        self._draining = True
        self._withdraw()
        self._held.extend(self._guards.withdraw())

    def give_back(self) -> None:
        """Give back what is held, and what comes from now on."""
        self._holding = False
        held, self._held = self._held, []
        for running in held:
            self._give_back(running)

    def _withdraw(self) -> None:
        """What has not begun is held."""
        self._slots.withdraw()
        for executor in set(self._executors.values()):
            executor.withdraw()

    def _take_back(self) -> None:
        """A breaker has opened: what has not begun is begun anew, or not."""
        if self._draining or self._stopped:
            return
        self._withdraw()
        held, self._held = self._held, []
        for running in held:
            self._submit([running])

    async def finish(self) -> None:
        """Return once nothing is open."""
        await self._under_way.finish()

    async def stop(self) -> None:
        """Do nothing any more about anything. What is unsettled stays so."""
        self._stopped = True
        await self._under_way.stop()

    async def handle(self, delivery: Delivery) -> None:
        """Take a delivery of a work queue to its settlement."""
        match self.take(delivery):
            case Running() as running:
                over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                running.on_over = partial(resolve, over, None)
                await over
            case asyncio.Task() as task:
                await asyncio.wait({task})

    def take(self, delivery: Delivery) -> Running | asyncio.Task[None] | None:
        """The same, without waiting; what there is to wait for."""
        self.counts["delivered"] += 1
        try:
            task = admit(
                delivery.properties,
                delivery.body,
                delivery.queue,
                self._settings.tasks,
                self._limits,
                self._settings.replies,
            )
            self._replies.require_answerable(task.reply_to)
            entries = read_batch(task.body, task.batch, self._limits) if task.batch else None
        except Malformed as refusal:
            return self._under_way.spawn(self._bury_malformed(delivery, refusal))
        if entries is not None:
            return self._take_batch(Batch(delivery, task, len(entries)), entries)
        known = self._known(delivery, task)
        if known is not None:
            return known
        running = self._start(delivery, task)
        self._submit([running])
        return running

    def _take_batch(self, batch: Batch, entries: list[tuple[str, bytes]]) -> asyncio.Task[None] | None:
        """Its tasks are run one after another. One that came before is split: what ended its worker then must not
        end it again together with all the others."""
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
            self._submit(fresh)
        return self._under_way.spawn(self._split(singles)) if singles else None

    def _known(self, delivery: Delivery | Part, task: Task) -> Running | asyncio.Task[None] | None:
        """Answer or join what is finished or runs here already; None if the task is new here."""
        match self._ledger.find((task.id, task.replay), time.monotonic()):
            case Finished(reply):
                return self._under_way.spawn(self._answer_again(delivery, task, reply))
            case Running() as running:
                self.counts["joined"] += 1
                self.meter.ended(task.name, "joined")
                running.join(delivery, task)
                return running
            case None:
                return None

    def _start(self, delivery: Delivery | Part, task: Task) -> Running:
        running = Running(task, [delivery], task.reply_to, task.resent)
        self._ledger.start(running.key, running)
        self._under_way.begin()
        return running

    def _submit(self, runs: list[Running]) -> None:
        """Have tasks of one name run as soon as there is room and no breaker is open; when draining, hold them or
        give them back."""
        if self._draining:
            for running in runs:
                self._put_back(running)
        else:
            self._guards.admit(runs)

    def _begin(self, runs: list[Running], by_fallback: bool) -> None:
        """Have tasks of one name run as soon as there is room."""
        self._slots.add([self._call(running, by_fallback) for running in runs])

    def _put_back(self, running: Running) -> None:
        if self._holding:
            self._held.append(running)
        else:
            self._give_back(running)

    def _call(self, running: Running, by_fallback: bool) -> Call:
        task = running.task
        handler = fallback_of(task.name) if by_fallback else task.name
        settings = self._settings.tasks[task.name]
        context = Current(
            id=task.id,
            task=task.name,
            queue=settings.queue,
            attempt=task.attempt,
            max_attempts=settings.retry.max_retries + 1,
        )
        on_end = partial(self._ended, running)
        return Call(context, handler, task.body, settings.timeout_s, task.expires_at, on_end)

    def _ended(self, running: Running, outcome: Outcome | None, ran_s: float) -> None:
        self._slots.release()
        if self._stopped:
            return
        if outcome is None:
            self._guards.forget(running)
            self._put_back(running)
            return
        failpoint("after_work")
        if (kept := self._guards.keep(running, outcome)) is not None:
            self._keep(running, kept)
            return
        task, now_ms, first = running.task, _now_ms(), running.deliveries[0]
        batch = first.batch if isinstance(first, Part) else None
        ran_ms = round(ran_s * 1000) if batch is None else batch.ran_ms(ran_s)
        started_ms = now_ms - round(ran_s * 1000)
        self.meter.ran(task, started_ms, ran_s)
        run = Run(
            attempts=task.attempt,
            worker=self._identity,
            queued_ms=max(0, started_ms - task.sent_at) if task.sent_at else 0,
            ran_ms=ran_ms,
            replay=task.replay,
        )
        retry = self._settings.tasks[task.name].retry
        settlement = settle(outcome, task, retry, now_ms=now_ms, chance=random.random())
        if not isinstance(settlement, Answer):
            last = Attempt(
                attempt=task.attempt,
                error="",
                text="",
                worker=self._identity,
                started_ms=started_ms,
                ran_ms=ran_ms,
            )
            self._under_way.spawn(self._carry_out(settlement, running, run, last))
            return
        reply = pack_done(task.id, settlement.result, run)
        if batch is None:
            self._answer(running, reply)
        else:
            if not batch.replies:
                asyncio.get_running_loop().call_soon(self._answer_batch, batch)
            batch.replies.append((running, reply))

    def _keep(self, running: Running, kept: Kept) -> None:
        """It has run and a breaker is open: it runs again, as the same attempt."""
        match kept:
            case Kept.LATER:
                self._under_way.spawn(self._postpone(running))
            case Kept.HELD if self._draining:
                self._put_back(running)
            case Kept.HELD:
                self._guards.hold(running)

    def _answer(self, running: Running, reply: PackedReply) -> None:
        reply_to = running.reply_to
        if not self._replies.post(reply_to, reply, partial(self._answered, reply_to, ((running, reply),))):
            self._under_way.spawn(self._finish(running, reply))

    def _answer_batch(self, batch: Batch) -> None:
        """Send together what has come together."""
        if self._stopped:
            return
        reply_to = batch.task.reply_to
        for ended in batch.messages():
            if len(ended) == 1:
                self._answer(*ended[0])
                continue
            joined = join_replies(batch.task.id, [reply for _, reply in ended])
            if not self._replies.post(reply_to, joined, partial(self._answered, reply_to, ended)):
                for one in ended:
                    self._under_way.spawn(self._finish(*one))

    def _answered(
        self,
        reply_to: str | None,
        ended: Sequence[tuple[Running, PackedReply]],
        problem: PublishError | None,
    ) -> None:
        """A message with these replies was accepted, or why it was not."""
        if self._stopped:
            return
        failpoint("after_reply_confirm")
        for running, reply in ended:
            if problem is None and running.reply_to == reply_to:
                self._close(running, reply)
            else:
                # Of many together none is to blame for a connection that ended.
                self._under_way.spawn(self._finish(running, reply, problem if len(ended) == 1 else None))

    def _close(self, running: Running, reply: PackedReply) -> None:
        """Remember → ack."""
        if reply.type == DONE:
            self.counts["done"] += 1
            self.meter.ended(running.task.name, "done")
        self._ledger.finish(running.key, running, reply, time.monotonic())
        failpoint("after_remember")
        self._ack(running)
        self._over(running)

    def _give_back(self, running: Running) -> None:
        """It has not begun. A task of a batch goes by itself: the others of its batch may have ended."""
        self._ledger.forget(running.key, running)
        for delivery in running.deliveries:
            if isinstance(delivery, Part):
                self._under_way.spawn(self._split([(delivery, running.task)]))
            else:
                delivery.nack()
        self._over(running)

    def _over(self, running: Running) -> None:
        self._ledger.forget(running.key, running)
        self._under_way.end()
        if running.on_over is not None:
            running.on_over()

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
            self._over(running)

    async def _postpone(self, running: Running) -> None:
        """A copy at the end of its queue, confirmed → ack."""
        self._ledger.forget(running.key, running)
        try:
            if await self._publications.postpone(running, self._guards.away_s(running)):
                self._ack(running)
        finally:
            self._over(running)

    async def _finish(self, running: Running, reply: PackedReply, problem: PublishError | None = None) -> None:
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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
