"""What a worker publishes about a task that did not go well, each confirmed before anybody acks.

A retry copy, a task of a batch by itself, a dead letter, and what is told to a requester who cannot be answered in
the usual way. Nothing is acked here: who calls does that, if True is returned.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import replace
from typing import Any

from broker.amqp.publisher import Message
from broker.config.settings import Settings
from broker.errors import PublishError
from protocol.batch import join_replies, read_batch
from protocol.dead_letter import salvage
from protocol.delay import enter
from protocol.errors import Malformed
from protocol.limits import Limits
from protocol.reply import Failure, PackedReply, Run, pack_failed
from protocol.task import Attempt, Task, read_requester, task_properties
from worker.failpoint import failpoint
from worker.intake.batch import Part
from worker.intake.delivery import Delivery
from worker.intake.ledger import Running
from worker.settlement.outbox import Outbox
from worker.settlement.policy import Bury, RetryIn
from worker.settlement.replies import Replies
from worker.telemetry.log_fields import about
from worker.telemetry.meter import Meter

log = logging.getLogger("glassrabbit.worker")


class Publications:
    """Sends by the outbox. Each method returns False if what it was about is no longer ours to settle."""

    def __init__(
        self,
        settings: Settings,
        identity: str,
        outbox: Outbox,
        replies: Replies,
        counts: Counter[str],
        meter: Meter,
    ) -> None:
        self._settings = settings
        self._limits = settings.limits.messages
        self._identity = identity
        self._outbox = outbox
        self._replies = replies
        self._counts = counts
        self._meter = meter

    async def retry(self, running: Running, settlement: RetryIn, last: Attempt) -> bool:
        """A copy into the delay line, for the next attempt."""
        task, limits = running.task, self._limits
        hop = enter(settlement.delay_s, task.name)
        last = replace(last, error=settlement.error, text=settlement.text, retry_in_ms=hop.delay_ms)
        copy = replace(task.next_attempt(last, limits), **_address(running))
        message = Message(
            exchange=hop.exchange,
            routing_key=hop.routing_key,
            body=copy.body,
            properties=task_properties(copy),
        )
        if not await self._outbox.send(message, lambda: running.is_live):
            return False
        failpoint("after_retry_confirm")
        self._counts["retried"] += 1
        self._meter.ended(task.name, "retried")
        log.info(
            "task %s (%s) attempt %d failed (%s: %s), again in %.1f s",
            task.id,
            task.name,
            task.attempt,
            settlement.error,
            settlement.text,
            hop.delay_ms / 1000,
            extra=about(task, self._settings.tasks[task.name].queue),
        )
        return True

    async def single(self, task: Task, part: Part) -> bool:
        """A task of a batch as a message of its own.

        It goes by the shortest way through the delay line, which is where a worker may publish.
        """
        if not await self._outbox.send(_copy(task, 0), lambda: part.is_live):
            return False
        self._counts["split"] += 1
        return True

    async def postpone(self, running: Running, delay_s: float) -> bool:
        """A copy into the delay line that is the same attempt."""
        copy = replace(running.task, **_address(running))
        if not await self._outbox.send(_copy(copy, delay_s), lambda: running.is_live):
            return False
        self._counts["postponed"] += 1
        self._meter.ended(running.task.name, "postponed")
        return True

    async def bury(self, running: Running, settlement: Bury, last: Attempt) -> bool:
        """A dead letter of a task that failed for good."""
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
            self._counts["dead"] += 1
            self._meter.ended(task.name, "failed", settlement.code)
            log.warning(
                "task %s (%s) is dead: %s (%s: %s)",
                task.id,
                task.name,
                settlement.code,
                settlement.error,
                settlement.text,
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
        self._counts["dead"] += 1
        self._meter.ended(delivery.properties.type, "refused", refusal.code)
        log.warning("a message of %s is refused: %s", delivery.queue, refusal, extra={"queue": delivery.queue})
        failure = Failure(code=refusal.code, type=refusal.code, text=refusal.text)
        await self.tell_requester(delivery, failure, delivery.queue)
        return True

    async def tell_requester(self, delivery: Delivery, failure: Failure, queue: str | None) -> None:
        """Tell whoever asked for what cannot be run, if that is known; of a batch, for each of its tasks."""
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
        """A reply to an address; see ``Replies.answer``."""
        await self._replies.answer(reply_to, reply, queue, now_ms=_now_ms(), problem=problem)
        failpoint("after_reply_confirm")


def _copy(task: Task, delay_s: float) -> Message:
    hop = enter(delay_s, task.name)
    properties = task_properties(task)
    return Message(exchange=hop.exchange, routing_key=hop.routing_key, body=task.body, properties=properties)


def headers_of(delivery: Delivery) -> dict[str, object] | None:
    headers = delivery.properties.headers
    return headers if isinstance(headers, dict) else None


def _ids_of_batch(delivery: Delivery, limits: Limits) -> list[str]:
    """The ids of the tasks that a message holds; none if it is no batch, or not one that can be read."""
    count = (headers_of(delivery) or {}).get("batch")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        return []
    try:
        return [task_id for task_id, _ in read_batch(delivery.body, count, limits)]
    except Malformed:
        return []


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _address(running: Running) -> dict[str, Any]:
    """Whom a copy is to answer: whoever asked last, and how."""
    return {"reply_to": running.reply_to, "joined_replies": running.joined_replies}
