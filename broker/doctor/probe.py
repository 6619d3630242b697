"""Sends one task and waits for its result, as a dispatcher does: only that shows that all of it works."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from broker.amqp.answers import resolve
from broker.amqp.connection import Connection
from broker.amqp.publisher import Message, Publisher
from broker.config.settings import Settings
from broker.doctor.verdict import Probe
from broker.errors import ConfirmLost, ConnectionLost, PublishError, Unroutable
from protocol.codec import encode
from protocol.names import DIRECT_REPLY_TO, TASKS, new_id
from protocol.reply import Unreadable, read_replies
from protocol.task import Task, task_properties

#: For a look at a queue; a broker under an alarm may not answer.
_LOOK_S = 2.0


async def send_probe(connection: Connection, settings: Settings, name: str, timeout_s: float) -> Probe:
    """Send a task without arguments and say what became of it within ``timeout_s``.

    A task that nobody takes stays in its queue, and is run when somebody does.
    """
    started_s = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            end, text = await _asked(connection, settings, name)
    except TimeoutError:
        end, text = await _unanswered(connection, settings, name), ""
    except Unroutable as error:
        end, text = "unroutable", str(error)
    except (PublishError, ConnectionLost) as error:
        end, text = "refused", str(error)
    return Probe(task=name, took_ms=round((time.monotonic() - started_s) * 1000), end=end, text=text)


async def _asked(connection: Connection, settings: Settings, name: str) -> tuple[str, str]:
    replied: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    channel = await connection.channel()

    def on_reply(_method: object, _properties: object, body: bytes) -> None:
        resolve(replied, body)

    await channel.consume(DIRECT_REPLY_TO, on_reply, auto_ack=True)
    publisher = await Publisher.open(connection, channel)
    now_ms = time.time_ns() // 1_000_000
    task = Task(
        id=new_id(),
        name=name,
        body=encode({}, settings.limits.messages),
        reply_to=DIRECT_REPLY_TO,
        timestamp=now_ms // 1000,
        sent_at=now_ms,
    )
    await publisher.publish(
        Message(exchange=TASKS, routing_key=name, body=task.body, properties=task_properties(task))
    )
    ends: set[asyncio.Future[Any]] = {replied, channel.closed}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if not replied.done():
        raise ConfirmLost(f"the connection ended before the reply: {channel.closed.result()}")
    return _end(replied.result(), settings)


def _end(body: bytes, settings: Settings) -> tuple[str, str]:
    try:
        [reply] = read_replies(body, settings.limits.messages)
    except ValueError as error:
        return "failed", f"the reply makes no sense: {error}"
    if isinstance(reply, Unreadable):
        return "failed", f"the reply makes no sense: {reply.error}"
    if reply.failure is not None:
        return "failed", f"{reply.failure.code}: {reply.failure.text}"
    return "done", f"by {reply.run.worker}, which had it after {reply.run.queued_ms} ms"


async def _unanswered(connection: Connection, settings: Settings, name: str) -> str:
    """Whether anything still waits in the task's queue."""
    try:
        async with asyncio.timeout(_LOOK_S):
            channel = await connection.channel()
            ready, _ = await channel.inspect_queue(settings.tasks[name].queue)
            await channel.close()
    except (ConnectionLost, TimeoutError):
        return "waiting"
    return "waiting" if ready else "taken"
