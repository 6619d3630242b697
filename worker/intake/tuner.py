"""Changes how many deliveries a worker holds while it runs: looks, lets ``prefetch`` decide, has it done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial

from worker.intake.consumer import Consumer
from worker.intake.prefetch import LOOK_S, Aim, Return, next_aim, returned


async def tune(
    consumer: Consumer,
    least: Mapping[str, int],
    concurrency: int,
    busy: Callable[[], int],
    on_surplus: Callable[[str, int, int | None], None],
    *,
    returns_old: bool,
) -> None:
    """Look for ever, and not while nothing is delivered. ``least``: what is held of each queue whose prefetch
    finds itself, at least. ``on_surplus`` is called with a queue of which something goes back, see
    ``returned``."""
    while least:
        await asyncio.sleep(LOOK_S)
        is_over = True
        for queue, fewest in least.items():
            flow = consumer.flows.get(queue)
            if flow is None:
                continue
            # One without an aim is of a new connection, which began with the least.
            aim = flow.aim or Aim(fewest)
            apart = consumer.held_apart(queue)
            see = partial(next_aim, aim, flow, concurrency, fewest, busy(), apart, time.monotonic())
            after = see()
            if flow.taken and after.prefetch < see(has_more=True).prefetch and (await consumer.counts(queue))[0]:
                # Acks that are on their way to the broker hide that it has no room for more.
                after = see(has_more=True)
            is_over = is_over and not flow.taken and after.prefetch == fewest
            flow.look_again()
            if await _changed(consumer, queue, aim.prefetch, after.prefetch, fewest):
                flow.aim = after
            is_shared = after.returns is Return.IF_SHARED and (await consumer.counts(queue))[1] > 0
            if back := returned(after, flow.looks, is_shared=is_shared, returns_old=returns_old):
                on_surplus(queue, *back)
        if is_over and not any(flow.held or flow.taken for flow in consumer.flows.values()):
            await consumer.news()


async def _changed(consumer: Consumer, queue: str, before: int, after: int, fewest: int) -> bool:
    """Whether a queue is consumed with this prefetch from now on."""
    if before < after <= fewest:
        # By a new consumer alone it would hold as much in addition to what this one holds.
        return await consumer.change(queue, after - before, is_further=True)
    is_split = len(consumer.tags_of(queue)) > 1 and not consumer.flows[queue].held
    return (after == before and not is_split) or await consumer.change(queue, after)
