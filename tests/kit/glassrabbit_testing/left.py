"""What is left in a virtual host, and how it reads when a test fails for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from broker.dead_letters.queue import Letter, held
from broker.topology.declare import declare
from broker.topology.model import Topology
from glassrabbit_testing.link import Link
from glassrabbit_testing.traffic import Unacked

#: For so long nothing may be anywhere: a message that the broker hands on is in no queue for a moment (up to 0.3 s
#: where the machine has much else to do), and one that was sent and not delivered since may be such a one.
_QUIET_S, _SENT_S = 0.1, 2.0
#: Between two looks.
_PAUSE_S = 0.05
#: Tasks of a queue that are named.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Left:
    """What is in one queue."""

    queue: str
    ready: int
    consumers: int
    unacked: list[Unacked] = field(default_factory=list)


def table(left: Sequence[Left]) -> str:
    """A line for each queue, with the unacked tasks by name."""
    lines = ["queue                 ready  unacked  consumers  unacked tasks"]
    for one in left:
        named = ", ".join(f"{held.type or '?'} {held.id}" for held in one.unacked[:_NAMED])
        more = " …" if len(one.unacked) > _NAMED else ""
        lines.append(
            f"{one.queue:20} {one.ready:6} {len(one.unacked):8} {one.consumers:10}  {named}{more}".rstrip()
        )
    return "\n".join(lines)


async def until_empty(link: Link, queues: Sequence[str], within_s: float) -> list[Left]:
    """Nothing, once nothing is ready or unacked in these queues, and nothing moves; what is left after
    ``within_s``. Name queues in the order in which messages pass them."""
    traffic = link.traffic
    async with link.connected() as connection:
        channel = await connection.channel()
        since = now = time.monotonic()
        deadline, before = now + within_s, -1
        while True:
            moves, now, left = traffic.moves, time.monotonic(), []
            for queue in queues:
                ready, consumers = await channel.inspect_queue(queue)
                unacked = [one for one in traffic.unacked() if one.queue == queue]
                if ready or unacked:
                    left.append(Left(queue, ready, consumers, unacked))
            if left or moves != before:
                since, before = now, -1 if left else moves
            elif now - since > (_SENT_S if traffic.sent else _QUIET_S):
                return []
            if now > deadline + (0 if left else _SENT_S):
                return left or [Left("(between queues)", 0, 0)]
            await asyncio.sleep(_PAUSE_S)


async def until_settled(link: Link, within_s: float) -> list[Unacked]:
    """What is still unacked after ``within_s``; sooner nothing, if nothing is."""
    deadline = time.monotonic() + within_s
    while (unacked := link.traffic.unacked()) and time.monotonic() < deadline:  # noqa: ASYNC110 - frames set no event
        await asyncio.sleep(_PAUSE_S)
    return unacked


async def letters(link: Link, queues: Sequence[str], *, take: bool) -> list[Letter]:
    """The letters in these queues of dead letters, which stay there unless they are taken."""
    found: list[Letter] = []
    async with link.connected() as connection:
        channel = await connection.channel()
        for queue in queues:
            if not (await channel.inspect_queue(queue))[0]:
                continue
            begin = len(found)
            async with held(connection, queue, found.append) as looked:
                for letter in found[begin:] if take else ():
                    looked.ack(letter.tag)
    return found


async def declared(link: Link, topology: Topology) -> None:
    """Make a topology."""
    async with link.connected() as connection:
        await declare(connection, topology)
