"""Bugs for a worker that takes batches: see ``tests.chaos.planted_worker``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protocol.reply import PackedReply
from tests.chaos.planted_worker import swap
from worker.intake.batch import Batch, Solo
from worker.settlement import reply_buffer as answers
from worker.settlement.publishing import Publishing


def batch_acked_with_its_first() -> None:
    """A batch is acked as soon as one of its tasks is settled."""

    def with_the_first(self: Batch, count: int = 1) -> bool:
        return self.delivery.ack()

    swap(Batch, "settle", with_the_first)


def batch_forgets_what_failed() -> None:
    """A task of a batch that failed is settled, and nothing is published that would try it again."""

    async def forgotten(self: Publishing, solo: Solo, *further: Any) -> bool:
        if len(solo.home.ids) > 1:
            return True
        return bool(await retry(self, solo, *further))

    retry = swap(Publishing, "retry", forgotten)


def batch_told_of_its_first() -> None:
    """Of replies that would leave together only the first one does."""

    def only_the_first(message_id: str, bodies: Sequence[bytes]) -> PackedReply:
        joined: PackedReply = join(message_id, bodies[:1])
        return joined

    join = swap(answers, "join_replies", only_the_first)


def batch_not_split() -> None:
    """A batch that comes again is acked, and none of its tasks is published by itself."""

    async def unpublished(self: Publishing, solo: Solo) -> bool:
        return True

    swap(Publishing, "single", unpublished)
