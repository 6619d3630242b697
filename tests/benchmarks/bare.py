"""What the two bare processes share: pika's own asyncio connection, as its documentation uses it."""

from __future__ import annotations

import asyncio
import os
from typing import Any, NoReturn

import pika
from pika.adapters.asyncio_connection import AsyncioConnection


async def open_channel() -> Any:
    """A channel on a connection of its own to ``BROKER_URL``. Losing it ends the process."""
    opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    AsyncioConnection(
        pika.URLParameters(os.environ["BROKER_URL"]),
        on_open_callback=lambda connection: connection.channel(on_open_callback=opened.set_result),
        on_open_error_callback=lambda _connection, error: give_up(repr(error)),
        on_close_callback=lambda _connection, error: give_up(repr(error)),
    )
    channel = await opened
    channel.add_on_close_callback(lambda _channel, error: give_up(repr(error)))
    channel.add_on_return_callback(lambda _channel, method, _properties, _body: give_up(method.reply_text))
    return channel


async def confirmed(channel: Any, on_confirm: Any) -> None:
    """Put a channel into confirm mode."""
    selected: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    channel.confirm_delivery(on_confirm, callback=selected.set_result)
    await selected


async def consume(channel: Any, queue: str, on_delivery: Any, **options: Any) -> None:
    started: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    channel.basic_consume(queue, on_delivery, callback=started.set_result, **options)
    await started


def give_up(reason: str) -> NoReturn:
    raise SystemExit(f"the bare contestant cannot go on: {reason}")


class Unconfirmed:
    """What waits for the broker's confirm, by sequence number. A nack ends the process."""

    def __init__(self) -> None:
        self._sequence = 0
        self._waiting: dict[int, Any] = {}

    def add(self, value: Any) -> None:
        self._sequence += 1
        self._waiting[self._sequence] = value

    def take(self, frame: Any) -> list[Any]:
        """The values that a confirm covers."""
        method = frame.method
        if not isinstance(method, pika.spec.Basic.Ack):
            give_up("the broker refused a message")
        if not method.multiple:
            return [self._waiting.pop(method.delivery_tag)]
        tags = [tag for tag in self._waiting if tag <= method.delivery_tag]
        return [self._waiting.pop(tag) for tag in tags]
