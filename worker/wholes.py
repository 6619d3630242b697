"""Batches as a whole, from their delivery to the ack: for tasks that take microseconds, for which the account that
is kept of each one would cost more than all the rest.

It is the same order of effects as in ``worker.lifecycle``, and goes on there for each task that is singled out.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate

from protocol.batch import read_plain_batch
from protocol.limits import Limits
from protocol.reply import Run, done_bodies
from protocol.task import Task
from worker.execution.handler import Ran
from worker.execution.outcome import Done, Outcome
from worker.execution.runner import Runs
from worker.failpoint import failpoint
from worker.intake.batch import Batch
from worker.intake.delivery import Delivery
from worker.intake.ledger import Ledger, Running
from worker.intake.whole import Share, Whole
from worker.settlement.reply_buffer import Answers
from worker.telemetry.meter import Meter
from worker.under_way import UnderWay


class Wholes:
    """``take`` → ``ended``, of some of its tasks at a time → ``close``, of these."""

    def __init__(
        self,
        identity: str,
        limits: Limits,
        runs: Runs,
        ledger: Ledger,
        answers: Answers,
        under_way: UnderWay,
        meter: Meter,
        counts: Counter[str],
        ended_alone: Callable[[Running, Outcome, float], None],
    ) -> None:
        """``ended_alone`` hears of the end of a run that was singled out."""
        self._identity = identity
        self._limits = limits
        self._runs = runs
        self._ledger = ledger
        self._answers = answers
        self._under_way = under_way
        self._meter = meter
        self._counts = counts
        self._ended_alone = ended_alone

    def take(self, delivery: Delivery, task: Task) -> bool:
        """Run a batch, if that can be done with all of it at once. False: nothing was done."""
        if delivery.redelivered or not self._runs.takes_whole(task.name):
            return False
        arguments = read_plain_batch(task.body, task.batch, self._limits)
        if arguments is None or self._ledger.knows_any(arguments):
            return False
        whole = Whole(Batch(delivery, task, len(arguments)), arguments, self._ledger, self._limits)
        self._ledger.start_all(arguments, whole)
        self._under_way.begin(len(arguments))
        self._runs.submit_whole(whole)
        return True

    def ended(self, whole: Whole, ended: Sequence[Ran]) -> None:
        """Some of its tasks have run, one after another."""
        well = [one for one in ended if type(one[1]) is Done and one[0] not in whole.singles]
        if well:
            self._ended_well(whole, well)
        if len(well) < len(ended):
            done = {one[0] for one in well}
            for task_id, outcome, ran_s in ended:
                if task_id not in done and outcome is not None:
                    self._ended_alone(whole.single_out(task_id), outcome, ran_s)

    def _ended_well(self, whole: Whole, ended: Sequence[Ran]) -> None:
        batch, sent_ms = whole.batch, whole.batch.task.sent_at
        ran = [ran_s for _, _, ran_s in ended]
        # One began when the one before it had ended.
        began_s = [*accumulate(ran, initial=time.time() - sum(ran))]
        sent_s = sent_ms / 1000 or math.inf
        queued = [max(0.0, at_s - sent_s) for at_s in began_s[:-1]]
        self._meter.ran_all(batch.task, queued, ran)
        runs: list[Run] = []
        run = Run(attempts=1, worker=self._identity)
        for queued_s, ran_ms in zip(queued, batch.ran_all_ms(ran), strict=True):
            queued_ms = int(1000 * queued_s)
            if queued_ms != run.queued_ms or ran_ms != run.ran_ms:
                run = Run(attempts=1, worker=self._identity, queued_ms=queued_ms, ran_ms=ran_ms)
            runs.append(run)
        ids = [task_id for task_id, _, _ in ended]
        results = [outcome.result for _, outcome, _ in ended if isinstance(outcome, Done)]
        self._answers.add_share(Share(whole, ids, done_bodies(ids, results, runs)))

    def close(self, share: Share) -> None:
        """Whoever asked was sent these replies, confirmed: remember → ack."""
        count, batch = len(share.ids), share.whole.batch
        self._counts["done"] += count
        self._meter.ended(batch.task.name, "done", count=count)
        self._ledger.finish_all(share.ids, share.bodies, time.monotonic())
        failpoint("after_remember", count)
        if not batch.settled(count):
            self._counts["stale"] += count
            self._meter.ended(batch.task.name, "stale", count=count)
        failpoint("after_ack", count)
        self._under_way.end(count)
