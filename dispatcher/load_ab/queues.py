"""Whether the queues of ``load ab`` are its own."""

from __future__ import annotations

from collections.abc import Iterable

from broker.config.settings import Settings
from broker.errors import ConnectionLost
from broker.topology.apply import open_once
from dispatcher.errors import CallError

_NOT_FOUND = 404


class NotAlone(CallError):
    """Somebody else's tasks or workers are in the queues of the test. Nothing was sent."""


async def require_alone(settings: Settings, queues: Iterable[str]) -> None:
    """Raises ``NotAlone`` if one of them has tasks or consumers; one that is missing has neither."""
    for queue, (tasks, consumers) in (await inspected(settings, queues)).items():
        if tasks or consumers:
            raise NotAlone(
                f"{queue} has {tasks} tasks and {consumers} consumers, and the test starts workers of its own. "
                "Stop yours and let no task wait, or use another virtual host: BROKER_URL."
            )


async def inspected(settings: Settings, queues: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Ready tasks and consumers of each queue. Raises ``BrokerError``."""
    found = {}
    connection = await open_once(settings, "load ab")
    try:
        for queue in queues:
            channel = await connection.channel()
            try:
                found[queue] = await channel.inspect_queue(queue)
                await channel.close()
            except ConnectionLost as error:
                if error.code != _NOT_FOUND:
                    raise
                found[queue] = (0, 0)
    finally:
        await connection.close()
    return found
