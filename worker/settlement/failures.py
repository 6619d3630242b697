"""What goes badly, each in a coroutine of its own that may wait: a refusal, a retry, a dead letter, a reply that
was not accepted, a task that has to go by itself. What it publishes is confirmed before the ack.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Iterable
from typing import assert_never

from broker.config.settings import Settings
from broker.errors import PublishError, Unsendable
from protocol.dead_letter import reason_of
from protocol.errors import ErrorCode, Malformed
from protocol.limits import Limits
from protocol.reply import FAILED, Failure, PackedReply, Run, pack_failed, run_of
from protocol.task import Attempt
from worker.execution.outcome import Failed, Rejected, RetryAsked
from worker.failpoint import failpoint
from worker.intake.batch import Batch, Solo
from worker.intake.delivery import Delivery
from worker.settlement.policy import Bury, Decision, RetryIn, decide
from worker.settlement.publishing import Publishing
from worker.settlement.settler import Settler
from worker.telemetry.log_fields import about
from worker.telemetry.meter import Meter

_after_ack = failpoint("after_ack")

log = logging.getLogger("glassrabbit.worker")


class Failures:
    """Each method takes a delivery, or one task, to its settlement. If it is no longer ours to settle, nothing is
    published: the broker hands it out again."""

    def __init__(self, settings: Settings, publishing: Publishing, settler: Settler, meter: Meter) -> None:
        self._tasks = settings.tasks
        self._limits: Limits = settings.limits.messages
        self._publishing = publishing
        self._settler = settler
        self._meter = meter

    async def refuse(self, delivery: Delivery, refusal: Malformed) -> None:
        """No task for this worker. Dead letter, confirmed → reply, if the requester is known, confirmed → ack."""
        if await self._publishing.bury_malformed(delivery, refusal):
            self._ack(delivery)
        delivery.over()

    async def obituary(self, obituary: Delivery) -> None:
        """The broker buried a task: its letter is in a dead queue already. Failure reply, confirmed → ack."""
        reason = reason_of(obituary.exchange, obituary.routing_key, obituary.headers)
        failure = Failure(code=reason.code, type=reason.code, text=reason.text)
        await self._publishing.report(obituary, failure, None)
        self._meter.count("obituaries")
        fields = {"task_id": obituary.properties.message_id, "queue": obituary.queue}
        log.info("task %s: reported to its requester: %s", fields["task_id"], reason.code, extra=fields)
        self._ack(obituary)

    async def failed(self, solo: Solo, outcome: Failed | RetryAsked | Rejected, run: Run, started_ms: int) -> None:
        """Retry copy, confirmed → ack. Or dead letter, confirmed → failure reply, confirmed → remember → ack."""
        task = solo.task
        now_ms = time.time_ns() // 1_000_000
        decision = decide(outcome, task, self._tasks[task.name].retry, now_ms=now_ms, chance=random.random())
        last = _attempt(decision, run, started_ms)
        match decision:
            case RetryIn():
                # A delivery that joins from here on brings a live reply address: it is run by itself.
                self._settler.forget(solo)
                if await self._publishing.retry(solo, decision, last):
                    self._settler.ack_solo(solo)
                self._settler.over(solo)
            case Bury():
                await self._bury(solo, decision, run, last)
            case _:
                assert_never(decision)

    async def cancel(self, solo: Solo, text: str, run: Run) -> None:
        """Somebody cancelled it. Failure reply, confirmed → remember → ack; no letter."""
        failure = Failure(code=ErrorCode.CANCELLED, type=ErrorCode.CANCELLED, text=text)
        reply = pack_failed(solo.task.id, failure, run, self._limits)
        await self._reply_to_the_last(solo, reply, None)
        self._meter.ended(solo.task.name, "cancelled")
        log.info(
            "task %s (%s) is cancelled: %s",
            solo.task.id,
            solo.task.name,
            text,
            extra=about(solo.task, self._tasks[solo.task.name].queue),
        )
        self._settler.close_solo(solo, FAILED, reply.body)

    async def _bury(self, solo: Solo, decision: Bury, run: Run, last: Attempt) -> None:
        if not await self._publishing.bury(solo, decision, last):
            self._settler.over(solo)
            return
        failure = Failure(code=decision.code, type=decision.error, text=decision.text)
        reply = pack_failed(solo.task.id, failure, run, self._limits)
        await self._reply_to_the_last(solo, reply, None)
        self._settler.close_solo(solo, FAILED, reply.body)

    async def insist(self, solo: Solo, reply: PackedReply, problem: PublishError | None) -> None:
        """Its reply was not accepted, for ``problem`` if that concerns it alone. Reply, confirmed, for as long as
        that takes → remember → ack. A result that the broker never takes is a failure."""
        try:
            await self._reply_to_the_last(solo, reply, problem)
        except Unsendable as error:
            run, decision = run_of(reply.body), Bury(ErrorCode.RESULT_TOO_LARGE, type(error).__name__, str(error))
            started_ms = time.time_ns() // 1_000_000 - run.ran_ms
            await self._bury(solo, decision, run, _attempt(decision, run, started_ms))
            return
        self._meter.ended(solo.task.name, "done")
        self._settler.close_solo(solo, reply.type, reply.body)

    async def _reply_to_the_last(self, solo: Solo, reply: PackedReply, problem: PublishError | None) -> None:
        """Send a reply. An address that came meanwhile gets it as well."""
        queue = self._tasks[solo.task.name].queue
        while True:
            reply_to = solo.reply_to
            await self._publishing.reply(reply_to, reply, queue, problem)
            if solo.reply_to == reply_to:
                return
            problem = None

    async def answer_again(self, batch: Batch, reply_to: str | None, reply: PackedReply) -> None:
        """It was finished here before. Reply from memory, confirmed → ack."""
        self._meter.ended(batch.task.name, "answered_again")
        with contextlib.suppress(Unsendable):
            await self._publishing.reply(reply_to, reply, batch.delivery.queue)
        self._settler.ack(batch)

    async def postpone(self, solo: Solo, delay_s: float) -> None:
        """A breaker tried it in vain. A copy at the end of its queue, the same attempt, confirmed → ack."""
        self._settler.forget(solo)
        if await self._publishing.postpone(solo, delay_s):
            self._settler.ack_solo(solo)
        self._settler.over(solo)

    async def split(self, solos: Iterable[Solo]) -> None:
        """Tasks of a batch that go by themselves from now on. Each as a message, confirmed → ack."""

        async def publish(solo: Solo) -> None:
            if await self._publishing.single(solo):
                self._settler.ack(solo.home)
            solo.over()

        async with asyncio.TaskGroup() as group:
            for solo in solos:
                group.create_task(publish(solo))

    def _ack(self, delivery: Delivery) -> None:
        """Of a message that holds no task for this worker."""
        if not delivery.ack():
            self._meter.ended(delivery.properties.type, "stale")
        if _after_ack:
            _after_ack(1)


def _attempt(decision: Decision, run: Run, started_ms: int) -> Attempt:
    return Attempt(
        attempt=run.attempts,
        error=decision.error,
        text=decision.text,
        worker=run.worker,
        started_ms=started_ms,
        ran_ms=run.ran_ms,
    )
