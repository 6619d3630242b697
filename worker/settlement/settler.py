"""Where a delivery is acked, and nowhere else: after what it depends on is confirmed, and remembered.

A delivery whose channel is gone is *stale*: the broker hands the task out again. What was done is remembered all
the same, so that the next delivery is answered from memory.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from worker.failpoint import failpoint
from worker.in_progress import InProgress
from worker.intake.batch import Batch, Key, Solo
from worker.intake.ledger import Ledger
from worker.telemetry.meter import Meter

_after_remember = failpoint("after_remember")
_after_ack = failpoint("after_ack")


class Settler:
    """Life of what ends: ``close`` (remember → ack), or ``ack`` alone; then ``over``."""

    def __init__(self, ledger: Ledger, meter: Meter, in_progress: InProgress) -> None:
        self._ledger = ledger
        self._meter = meter
        self._in_progress = in_progress

    def close(self, batch: Batch, keys: Sequence[Key], kind: str, bodies: Sequence[bytes]) -> None:
        """The requester was sent these replies, confirmed: remember → ack."""
        self._ledger.finish(keys, kind, bodies, time.monotonic())
        if _after_remember:
            _after_remember(len(keys))
        self.ack(batch, len(keys))
        self._in_progress.end(len(keys))

    def close_solo(self, solo: Solo, kind: str, body: bytes) -> None:
        """Its requester was sent the reply, confirmed: remember → ack every delivery of this task."""
        self._ledger.finish((solo.key,), kind, (body,), time.monotonic())
        if _after_remember:
            _after_remember(1)
        self.ack_solo(solo)
        solo.over()
        self._in_progress.end()

    def ack(self, batch: Batch, count: int = 1) -> None:
        """``count`` tasks of a batch are settled; the last one acks its delivery."""
        if not batch.settle(count):
            self._meter.ended(batch.task.name, "stale", count=count)
        if _after_ack:
            _after_ack(count)

    def ack_solo(self, solo: Solo) -> None:
        """Settle every delivery of a task."""
        for share in solo.shares:
            self.ack(share)

    def forget(self, solo: Solo) -> None:
        """It does not run any more here: a delivery of it that comes from now on is run by itself."""
        self._ledger.forget(solo.key, solo.home)

    def over(self, solo: Solo) -> None:
        """Nothing more is done about it here, whether or not its deliveries are settled."""
        self.forget(solo)
        solo.over()
        self._in_progress.end()
