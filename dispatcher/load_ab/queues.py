"""Whether the queues of ``load ab`` are its own."""

from __future__ import annotations

from collections.abc import Iterable

from broker.amqp.counting import Count, count_all
from broker.amqp.once import connected
from broker.config.settings import Settings
from broker.errors import AccessRefused
from dispatcher.errors import CallError

#: For the broker to say what stands in the queues.
COUNT_S = 10.0


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


async def inspected(settings: Settings, queues: Iterable[str]) -> dict[str, Count]:
    """Ready tasks and consumers of each queue that is there. Raises ``BrokerError``."""
    counts: dict[str, Count | None] = dict.fromkeys(queues)
    await connected(settings, "load ab", lambda one: count_all(one, counts), timeout_s=COUNT_S)
    if None in counts.values():
        raise AccessRefused("this user may not read the queues of the test. It needs the right to read them.")
    return {queue: count for queue, count in counts.items() if count is not None}
