"""One delivery from its arrival to its settlement: the order of effects that keeps tasks.

1. Admit it, or bury it. 2. Finished here before: answer from memory. Running here: join. 3. Wait for a slot, run
the handler. 4. Done: reply, confirmed; remember; ack. Failed, attempts left: copy into the delay line,
confirmed; ack. Failed for good: dead letter, confirmed; reply, confirmed; remember; ack. The ack is always last.

A delivery whose channel is gone is *stale*: the broker hands the task out again. Then what is done is still
answered and remembered, so that the next delivery is answered from memory; what failed is left to that one.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

from broker.delay import enter
from broker.publisher import Message
from broker.settings import Settings, TaskSettings
from protocol.errors import ErrorCode, Malformed
from protocol.letter import salvage, why
from protocol.reply import Failure, PackedReply, Run, pack_done, pack_failed
from protocol.task import Attempt, Task, read_requester, task_properties
from worker.admission import admit
from worker.context import Current
from worker.delivery import Delivery
from worker.executor import Executor
from worker.failpoint import failpoint
from worker.handler import Call
from worker.ledger import Finished, Key, Ledger, Running
from worker.log_fields import about
from worker.meter import Meter
from worker.outbox import Outbox
from worker.outcome import Outcome
from worker.replies import Replies
from worker.settlement import Answer, Bury, RetryIn, Settlement, is_expired, settle
from worker.slots import Draining, Slots

log = logging.getLogger("glassrabbit.worker")


class Attempts:
    """Handles deliveries. ``counts`` tells what became of them."""

    def __init__(
        self,
        settings: Settings,
        identity: str,
        executors: Mapping[str, Executor],
        outbox: Outbox,
        slots: Slots,
    ) -> None:
        """``executors`` maps each task of this worker to what runs it; ``identity`` is ``host:pid``."""
        self._settings = settings
        self._limits = settings.limits.messages
        self._identity = identity
        self._executors = executors
        self._outbox = outbox
        self._slots = slots
        self._replies = Replies(outbox, identity, self._limits, mailboxes_only=settings.replies == "mailbox")
        limits = settings.limits
        self._ledger = Ledger(limits.ledger_entries, limits.ledger_age_s, limits.ledger_bytes)
        self.counts: Counter[str] = Counter()
        self.meter = Meter(executors)

    async def handle(self, delivery: Delivery) -> None:
        """Take a delivery of a work queue to its settlement."""
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
        except Malformed as refusal:
            await self._bury_malformed(delivery, refusal)
            return
        key = (task.id, task.replay)
        match self._ledger.find(key, time.monotonic()):
            case Finished(reply):
                await self._answer_again(delivery, task, reply)
            case Running() as running:
                self.counts["joined"] += 1
                self.meter.ended(task.name, "joined")
                running.join(delivery, task)
            case None:
                await self._run(key, Running(task, [delivery], task.reply_to, task.resent))

    async def tell(self, obituary: Delivery) -> None:
        """Tell the requester of a task that the broker buried; publish nothing else. Then ack."""
        verdict = why(obituary.exchange, obituary.routing_key, _headers(obituary))
        requester = read_requester(obituary.properties)
        if requester is not None:
            failure = Failure(code=verdict.code, type=verdict.code, text=verdict.text)
            run = Run(attempts=requester.attempt, worker=self._identity, replay=requester.replay)
            reply = pack_failed(requester.id, failure, run, self._limits)
            # The letter is in its dead queue already: nothing but the reply is published from here.
            await self._reply(requester.reply_to, reply, None)
        self.counts["obituaries"] += 1
        fields = {"task_id": obituary.properties.message_id, "queue": obituary.queue}
        log.info("task %s: told its requester: %s", fields["task_id"], verdict.code, extra=fields)
        self._settle(obituary)

    async def _run(self, key: Key, running: Running) -> None:
        task = running.task
        settings = self._settings.tasks[task.name]
        self._ledger.start(key, running)
        try:
            async with self._slots:
                started_ms, started = _now_ms(), time.monotonic()
                if is_expired(task, started_ms):
                    settlement: Settlement = Bury(ErrorCode.EXPIRED, ErrorCode.EXPIRED, "it came after its time")
                else:
                    outcome = await self._execute(task, settings)
                    self.meter.ran(task, started_ms, time.monotonic() - started)
                    failpoint("after_work")
                    settlement = settle(outcome, task, settings.retry, now_ms=_now_ms(), chance=random.random())
                ran_ms = round((time.monotonic() - started) * 1000)
            await self._carry_out(settlement, key, running, started_ms, ran_ms)
        except Draining:
            for delivery in running.deliveries:
                delivery.nack()
        finally:
            self._ledger.forget(key, running)

    async def _execute(self, task: Task, settings: TaskSettings) -> Outcome:
        context = Current(
            id=task.id,
            task=task.name,
            queue=settings.queue,
            attempt=task.attempt,
            max_attempts=settings.retry.max_retries + 1,
        )
        return await self._executors[task.name].run(Call(context, task.body, settings.timeout_s))

    async def _carry_out(
        self, settlement: Settlement, key: Key, running: Running, started_ms: int, ran_ms: int
    ) -> None:
        task = running.task
        run = Run(
            attempts=task.attempt,
            worker=self._identity,
            queued_ms=max(0, started_ms - task.sent_at) if task.sent_at else 0,
            ran_ms=ran_ms,
            replay=task.replay,
        )
        last = Attempt(
            attempt=task.attempt,
            error="",
            text="",
            worker=self._identity,
            started_ms=started_ms,
            ran_ms=ran_ms,
        )
        match settlement:
            case Answer(result):
                await self._finish(key, running, pack_done(task.id, result, run))
                self.counts["done"] += 1
                self.meter.ended(task.name, "done")
            case RetryIn():
                # A delivery that joins from here on brings a live reply address: it is run by itself.
                self._ledger.forget(key, running)
                await self._retry(running, settlement, last)
            case Bury():
                last = replace(last, error=settlement.error, text=settlement.text)
                if not await self._bury(running, settlement, last):
                    return
                failure = Failure(code=settlement.code, type=settlement.error, text=settlement.text)
                await self._finish(key, running, pack_failed(task.id, failure, run, self._limits))
            case _:
                assert_never(settlement)

    async def _finish(self, key: Key, running: Running, reply: PackedReply) -> None:
        """Reply, confirmed → remember → ack. An address that came meanwhile gets the reply as well."""
        while True:
            reply_to = running.reply_to
            await self._reply(reply_to, reply, self._settings.tasks[running.task.name].queue)
            if running.reply_to == reply_to:
                break
        self._ledger.finish(key, running, reply, time.monotonic())
        failpoint("after_remember")
        self._ack(running)

    async def _retry(self, running: Running, settlement: RetryIn, last: Attempt) -> None:
        task, limits = running.task, self._limits
        hop = enter(settlement.delay_s, task.name)
        last = replace(last, error=settlement.error, text=settlement.text, retry_in_ms=hop.delay_ms)
        copy = replace(task.next_attempt(last, limits), reply_to=running.reply_to)
        message = Message(
            exchange=hop.exchange,
            routing_key=hop.routing_key,
            body=copy.body,
            properties=task_properties(copy),
        )
        if await self._outbox.send(message, lambda: running.is_live):
            failpoint("after_retry_confirm")
            self.counts["retried"] += 1
            self.meter.ended(task.name, "retried")
            log.info(
                "task %s (%s) attempt %d failed (%s), again in %.1f s",
                task.id,
                task.name,
                task.attempt,
                settlement.error,
                hop.delay_ms / 1000,
                extra=about(task, self._settings.tasks[task.name].queue),
            )
            self._ack(running)

    async def _bury(self, running: Running, settlement: Bury, last: Attempt) -> bool:
        task = running.task
        letter = replace(task, history=task.history_with(last, self._limits))
        buried = await self._replies.bury(
            task_properties(letter),
            task.body,
            self._settings.tasks[task.name].queue,
            code=settlement.code,
            text=settlement.text,
            now_ms=_now_ms(),
            wanted=lambda: running.is_live,
        )
        if buried:
            self.counts["dead"] += 1
            self.meter.ended(task.name, "failed", settlement.code)
            log.warning(
                "task %s (%s) is dead: %s (%s)",
                task.id,
                task.name,
                settlement.code,
                settlement.error,
                extra=about(task, self._settings.tasks[task.name].queue),
            )
        return buried

    async def _bury_malformed(self, delivery: Delivery, refusal: Malformed) -> None:
        """A letter with the body untouched and what is sound of the properties; then the requester, if known."""
        buried = await self._replies.bury(
            salvage(delivery.properties),
            delivery.body,
            delivery.queue,
            code=refusal.code,
            text=refusal.text,
            now_ms=_now_ms(),
            wanted=lambda: delivery.is_live,
        )
        if not buried:
            return
        self.counts["dead"] += 1
        self.meter.ended(delivery.properties.type, "refused", refusal.code)
        log.warning("a message of %s is refused: %s", delivery.queue, refusal, extra={"queue": delivery.queue})
        requester = read_requester(delivery.properties)
        if requester is not None:
            failure = Failure(code=refusal.code, type=refusal.code, text=refusal.text)
            run = Run(attempts=requester.attempt, worker=self._identity, replay=requester.replay)
            reply = pack_failed(requester.id, failure, run, self._limits)
            await self._reply(requester.reply_to, reply, delivery.queue)
        self._settle(delivery)

    async def _answer_again(self, delivery: Delivery, task: Task, reply: PackedReply) -> None:
        self.counts["answered_again"] += 1
        self.meter.ended(task.name, "answered_again")
        await self._reply(task.reply_to, reply, delivery.queue)
        self._settle(delivery)

    async def _reply(self, reply_to: str | None, reply: PackedReply, queue: str | None) -> None:
        await self._replies.answer(reply_to, reply, queue, now_ms=_now_ms(), wanted=lambda: True)
        failpoint("after_reply_confirm")

    def _ack(self, running: Running) -> None:
        for delivery in running.deliveries:
            self._settle(delivery)

    def _settle(self, delivery: Delivery) -> None:
        if not delivery.ack():
            self.counts["stale"] += 1
            self.meter.ended(delivery.properties.type, "stale")
        failpoint("after_ack")


def _headers(delivery: Delivery) -> dict[str, object] | None:
    headers = delivery.properties.headers
    return headers if isinstance(headers, dict) else None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
