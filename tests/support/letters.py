"""Dead letters by the thousand, as a worker writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker.amqp.connection import connect
from broker.amqp.publisher import Message, Publisher
from broker.config.settings import Settings
from protocol.dead_letter import letter_properties
from protocol.limits import DEFAULT_LIMITS
from protocol.names import DEAD, new_id
from protocol.task import Attempt, Task, task_properties
from tests.support.vhost import body
from tests.support.waiting import run

DIED_MS = 1_795_000_000_000


def dead_task(name: str = "note", *, attempts: int = 1, packed: bytes | None = None, **further: Any) -> Task:
    """A task of which ``attempts`` have failed."""
    history = tuple(
        Attempt(
            attempt=number,
            error="RuntimeError",
            text=f"attempt {number} fails",
            worker="by-hand:1",
            started_ms=DIED_MS - 1000 * (attempts - number),
            ran_ms=10,
        )
        for number in range(1, attempts + 1)
    )
    fields: dict[str, Any] = {
        "id": new_id(),
        "name": name,
        "body": body() if packed is None else packed,
        "history": history,
    }
    return Task(**{**fields, "attempt": attempts, "sent_at": DIED_MS, **further})


def bury(settings: Settings, tasks: Sequence[Task], queue: str = "queue_a", code: str = "rejected") -> list[str]:
    """Write a dead letter for each task, in order; their ids."""

    async def write() -> None:
        endpoint = settings.broker.endpoints[0]
        connection = await connect(endpoint, name="test letters", heartbeat_s=30, timeout_s=5)
        publisher = await Publisher.open(connection)
        accepted = []
        for task in tasks:
            properties = letter_properties(
                task_properties(task),
                code=code,
                text=f"{code} by hand",
                queue=queue,
                worker="by-hand:1",
                died_ms=DIED_MS,
                limits=DEFAULT_LIMITS,
            )
            message = Message(exchange=DEAD, routing_key=queue, body=task.body, properties=properties)
            accepted.append(publisher.publish(message))
        for one in accepted:
            await one
        await connection.close()

    run(write(), within_s=60)
    return [task.id for task in tasks]
