"""What the broker answers, waited for within bounds: a silent one keeps nobody."""

from __future__ import annotations

import asyncio
import time
from typing import Any, TypeVar

from broker.amqp.pika_errors import undone
from broker.errors import ConnectionLost

T = TypeVar("T")

#: How long the broker may take for one answer; and how long at least, where its time is over.
ANSWER_S, LEAST_S = 30.0, 0.5
#: How long a close waits to be answered. What it gives back is given back without an answer as well.
CLOSE_S = 1.0


def left_s(deadline_s: float, most_s: float) -> float:
    return max(0.0, min(most_s, deadline_s - time.monotonic()))


async def answer(asked: asyncio.Future[T], ended: asyncio.Future[Any], deadline_s: float) -> T:
    """What the broker answered in time. Raises ``ConnectionLost``, or why the channel or connection ended."""
    within_s = max(LEAST_S, left_s(deadline_s, ANSWER_S))
    await asyncio.wait({asked, ended}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    if asked.done():
        return asked.result()
    if not ended.done():
        raise ConnectionLost("the broker takes connections and did not answer in time")
    raise undone(ended.result()) if isinstance(ended.result(), ConnectionLost) else ended.result()


def resolve(future: asyncio.Future[T], value: T) -> None:
    """Answer a future that may have been answered, or given up, before."""
    if not future.done():
        future.set_result(value)
