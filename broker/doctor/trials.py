"""Trials by which the doctor learns what this user may do, and what the broker takes. They change nothing.

What is written is a message that no queue is bound for; what is read are empty queues alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from broker.amqp.connection import Connection
from broker.amqp.counting import Count
from broker.amqp.publisher import Message, Publisher
from broker.doctor.check_access import DEFAULT_EXCHANGE
from broker.errors import (
    ACCESS_REFUSED,
    ConfirmLost,
    ConnectionLost,
    MayNotPublish,
    NoExchange,
    PublishError,
    TooLarge,
)
from protocol.delay import LEVELS
from protocol.names import DEAD, REPLIES, TASKS, delay_level, new_id
from protocol.properties import Properties

#: For the broker's word on a message that is tried; under an alarm there is none.
TRIAL_S = 1.5
#: 16 MiB with a reply around them, which RabbitMQ 4 does not take by default. What is larger takes long to send.
LARGEST_TRIED = 17 * 1024 * 1024


async def readable(
    connection: Connection, queues: Sequence[str], inspected: Mapping[str, Count]
) -> dict[str, bool | None]:
    rights: dict[str, bool | None] = {}
    for queue in queues:
        rights[queue] = None
        if inspected.get(queue, (1, 0))[0] == 0:
            channel = await connection.channel()
            rights[queue] = True
            try:
                await channel.get(queue)
            except ConnectionLost as error:
                rights[queue] = False if error.code == ACCESS_REFUSED else None
            # Whatever came in that moment goes back to its place.
            await channel.close()
    return rights


async def writable(connection: Connection) -> dict[str, bool | None]:
    exchanges = [TASKS, delay_level(LEVELS - 1), DEAD, REPLIES, ""]
    tried = await asyncio.gather(*(_takes(connection, exchange) for exchange in exchanges))
    return {exchange or DEFAULT_EXCHANGE: may for exchange, may in zip(exchanges, tried, strict=True)}


async def largest_taken(connection: Connection, write: Mapping[str, bool | None], size: int) -> bool | None:
    """Whether the broker takes a body of this size. None: it was not tried, or the broker did not say.

    No API has its ``max_message_size``; beyond that it closes the channel that a message came on, and no more.
    """
    allowed = next((exchange for exchange, may in write.items() if may), None)
    if allowed is None or size > LARGEST_TRIED:
        return None
    return await _takes(connection, allowed.replace(DEFAULT_EXCHANGE, ""), bytes(size))


async def _takes(connection: Connection, exchange: str, body: bytes = b"") -> bool | None:
    """Whether the broker takes a message for an exchange, on a channel of its own. A large one is not returned."""
    nowhere = Message(
        exchange=exchange,
        routing_key=f"doctor {new_id()}",
        body=body,
        properties=Properties(),
        mandatory=not body,
    )
    try:
        # Once it has seen a publish, a broker under an alarm reads nothing more from this connection.
        async with asyncio.timeout(TRIAL_S):
            publisher = await Publisher.open(connection)
            await publisher.publish(nowhere)
            await publisher.channel.close()
    except (MayNotPublish, TooLarge):
        return False
    except (ConfirmLost, NoExchange):
        return None
    except PublishError:
        return True
    except (TimeoutError, ConnectionLost):
        return None
    return True
