"""Deliveries that were returned so often that one of them may be what ends workers: they run one at a time.

The broker counts the crash of a worker against everything that it held, and buries what was returned more often
than the queue's ``delivery_limit``. From half of that on a delivery is a suspect. Suspects wait for each other:
what ran before the culprit is done and out of danger when it strikes. Their order is turned round from one crash
to the next, so of any two each comes first in one of them. An innocent one is done two crashes after it
became a suspect, and the culprit is buried alone. (A limit of 1 leaves no time for that.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from broker.config.holding import suspect_from
from worker.intake.delivery import Delivery

#: Before a suspect is chosen: those that were returned with it have come, the ack of the one before has arrived.
PAUSE_S = 0.2


class Quarantine:
    """Hands suspects on, one at a time."""

    def __init__(self, delivery_limits: Mapping[str, int], take: Callable[[Delivery], None]) -> None:
        """``take`` sees to a delivery, and to its ``over``."""
        self._limits = delivery_limits
        self._take = take
        self._waiting: list[Delivery] = []
        self._turn = asyncio.Lock()

    def suspects(self, delivery: Delivery) -> bool:
        """Whether a delivery of a work queue is to be taken here."""
        return delivery.redelivered and delivery.returned >= suspect_from(self._limits[delivery.queue])

    def may_return(self, delivery: Delivery, few: int | None = None) -> bool:
        """Whether a delivery may be given back so that others get it. RabbitMQ before 4.3 counts that as well, and
        it must make nothing a suspect."""
        most = suspect_from(self._limits[delivery.queue]) // 2
        return delivery.returned < (most if few is None else min(most, few))

    async def in_turn(self, delivery: Delivery) -> None:
        """Handle a suspect, in its turn: the one whose turn it is.

        One whose channel ended while it waited is left alone: the broker delivers it again.
        """
        self._waiting.append(delivery)
        async with self._turn:
            await asyncio.sleep(PAUSE_S)
            chosen = next_of(self._waiting)
            self._waiting.remove(chosen)
            if chosen.is_live:
                over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                chosen.on_over = partial(over.set_result, None)
                self._take(chosen)
                await over


def next_of(suspects: Sequence[Delivery]) -> Delivery:
    """By id, upwards or downwards: a crash raises all counts by one and so turns the order round."""
    first = max if max(suspect.returned for suspect in suspects) % 2 else min
    return first(suspects, key=lambda suspect: str(suspect.properties.message_id))
