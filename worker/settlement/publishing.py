"""What a worker publishes about a task that did not go well, each confirmed before the ack.

A retry copy, a task of a batch by itself, a dead letter, and the reply to a requester who cannot be answered in
the usual way. Nothing is acked here: the caller does that, if True is returned.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from broker.amqp.publisher import Message
from broker.config.settings import Settings
from broker.console.logs import TASKS
from broker.errors import PublishError, Unsendable
from protocol.batch import join_replies, read_batch
from protocol.dead_letter import salvage
from protocol.delay import Hop, enter
from protocol.errors import Malformed
from protocol.limits import Limits
from protocol.reply import DONE, Failure, PackedReply, Run, pack_failed
from protocol.task import Attempt, Task, read_requester, task_properties
from worker.failpoint import failpoint
from worker.intake.batch import Solo
from worker.intake.delivery import Delivery
from worker.settlement.outbox import Outbox
from worker.settlement.policy import Bury, RetryIn
from worker.settlement.replies import Replies
from worker.telemetry.log_fields import about
from worker.telemetry.meter import Meter

_after_retry_confirm = failpoint("after_retry_confirm")
_after_reply_confirm = failpoint("after_reply_confirm")

log = logging.getLogger("glassrabbit.worker")


class Publishing:
    """Sends by the outbox. Each method returns False if what it was about is no longer ours to settle."""

    def __init__(
        self,
        settings: Settings,
        identity: str,
        outbox: Outbox,
        replies: Replies,
        meter: Meter,
    ) -> None:
        self._settings = settings
        self._limits = settings.limits.messages
        self._identity = identity
        self._outbox = outbox
        self._replies = replies
        self._meter = meter
        # Where each task that ends is to be logged, the lines of those that fail are not counted either.
        self._log = logging.getLogger(TASKS) if settings.worker.log_tasks else log

    async def retry(self, solo: Solo, decision: RetryIn, last: Attempt) -> bool:
        """A copy into the delay line, for the next attempt."""
        task, limits = solo.task, self._limits
        hop = enter(decision.delay_s, task.name)
        last = replace(last, retry_in_ms=hop.delay_ms)
        copy = replace(task.next_attempt(last, limits), **_address(solo))
        if not await self._outbox.send(_message(copy, hop), lambda: solo.is_live):
            return False
        if _after_retry_confirm:
            _after_retry_confirm(1)
        self._meter.ended(task.name, "retried")
        self._log.info(
            "task %s (%s) attempt %d failed (%s: %s), again in %.1f s",
            task.id,
            task.name,
            task.attempt,
            decision.error,
            decision.text,
            hop.delay_ms / 1000,
            extra=about(task, self._settings.tasks[task.name].queue),
        )
        return True

    async def single(self, solo: Solo) -> bool:
        """A task of a batch as a message of its own, at the end of its queue."""
        if not await self._outbox.send(
            _message(solo.task, enter(0, solo.task.name)), lambda: solo.home.delivery.is_live
        ):
            return False
        self._meter.count("split")
        return True

    async def postpone(self, solo: Solo, delay_s: float) -> bool:
        """A copy into the delay line that is the same attempt."""
        copy = replace(solo.task, **_address(solo))
        if not await self._outbox.send(_message(copy, enter(delay_s, copy.name)), lambda: solo.is_live):
            return False
        self._meter.ended(solo.task.name, "postponed")
        return True

    async def bury(self, solo: Solo, decision: Bury, last: Attempt) -> bool:
        """A dead letter of a task that failed for good."""
        task = solo.task
        letter = replace(task, history=task.history_with(last, self._limits))
        buried = await self._replies.bury(
            task_properties(letter),
            task.body,
            self._settings.tasks[task.name].queue,
            code=decision.code,
            text=decision.text,
            now_ms=_now_ms(),
            wanted=lambda: solo.is_live,
        )
        if buried:
            self._meter.ended(task.name, "failed", decision.code)
            self._log.warning(
                "task %s (%s) is dead: %s (%s: %s)",
                task.id,
                task.name,
                decision.code,
                decision.error,
                decision.text,
                extra=about(task, self._settings.tasks[task.name].queue),
            )
        return buried

    async def bury_malformed(self, delivery: Delivery, refusal: Malformed) -> bool:
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
            return False
        self._meter.ended(delivery.properties.type, "refused", refusal.code)
        log.warning("a message of %s is refused: %s", delivery.queue, refusal, extra={"queue": delivery.queue})
        failure = Failure(code=refusal.code, type=refusal.code, text=refusal.text)
        await self.report(delivery, failure, delivery.queue)
        return True

    async def report(self, delivery: Delivery, failure: Failure, queue: str | None) -> None:
        """Report a failure to the requester of a message, if it is known; of a batch, for each of its tasks."""
        requester = read_requester(delivery.properties)
        if requester is None:
            return
        run = Run(attempts=requester.attempt, worker=self._identity, replay=requester.replay)
        ids = _ids_of_batch(delivery, self._limits)
        if ids:
            replies = [pack_failed(one, failure, run, self._limits) for one in ids]
            reply = join_replies(requester.id, [one.body for one in replies])
        else:
            reply = pack_failed(requester.id, failure, run, self._limits)
        await self.reply(requester.reply_to, reply, queue)

    async def reply(
        self, reply_to: str | None, reply: PackedReply, queue: str | None, problem: PublishError | None = None
    ) -> None:
        """A reply to an address; see ``Replies.answer``. Raises ``Unsendable`` for a result; a failure that cannot
        be sent is logged."""
        try:
            await self._replies.answer(reply_to, reply, queue, now_ms=_now_ms(), problem=problem)
        except Unsendable as error:
            if reply.type == DONE:
                raise
            log.warning("task %s: no reply: %s", reply.id, error, extra={"task_id": reply.id})
        if _after_reply_confirm:
            _after_reply_confirm(1)


def _message(task: Task, hop: Hop) -> Message:
    properties = task_properties(task)
    return Message(exchange=hop.exchange, routing_key=hop.routing_key, body=task.body, properties=properties)


def _ids_of_batch(delivery: Delivery, limits: Limits) -> list[str]:
    """The ids of the tasks that a message holds; none if it is no batch, or not one that can be read."""
    count = delivery.headers.get("batch")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        return []
    try:
        return [task_id for task_id, _ in read_batch(delivery.body, count, limits)]
    except Malformed:
        return []


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _address(solo: Solo) -> dict[str, Any]:
    """Where a copy is answered: at the address that asked last, and how."""
    return {"reply_to": solo.reply_to, "joined_replies": solo.joined_replies}
