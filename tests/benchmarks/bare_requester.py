"""A requester on bare pika: the same messages and the same promises as our dispatcher, and nothing else."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import msgpack
import pika

from tests.benchmarks.bare import Unconfirmed, confirmed, consume, give_up, open_channel
from tests.benchmarks.requester import serve
from tests.benchmarks.work import ARGUMENTS

_DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"


class BareRequester:
    """One channel: confirms, returns, and the direct replies."""

    def __init__(self, channel: Any, task: str) -> None:
        self._channel = channel
        self._task = task
        self._waiting: dict[str, Callable[[], None]] = {}
        self._unconfirmed = Unconfirmed()

    @classmethod
    async def open(cls, task: str) -> BareRequester:
        channel = await open_channel()
        requester = cls(channel, task)
        await confirmed(channel, requester._confirmed)
        await consume(channel, _DIRECT_REPLY_TO, requester._on_reply, auto_ack=True)
        return requester

    async def many(self, tasks: int, window: int) -> None:
        all_done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        unsent, undone = tasks, tasks

        def on_done() -> None:
            nonlocal unsent, undone
            undone -= 1
            if unsent:
                unsent -= 1
                self._publish(on_done)
            elif not undone:
                all_done.set_result(None)

        for _ in range(min(tasks, window)):
            unsent -= 1
            self._publish(on_done)
        await all_done

    async def one(self) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._publish(lambda: done.set_result(None))
        await done

    async def send(self) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._publish(lambda: done.set_result(None), is_answered=False)
        await done

    def _publish(self, on_done: Callable[[], None], is_answered: bool = True) -> None:
        task_id, now_ms = os.urandom(16).hex(), time.time_ns() // 1_000_000
        self._channel.basic_publish(
            "tasks",
            self._task,
            msgpack.packb(ARGUMENTS),
            pika.BasicProperties(
                type=self._task,
                message_id=task_id,
                correlation_id=task_id,
                reply_to=_DIRECT_REPLY_TO if is_answered else None,
                timestamp=now_ms // 1000,
                content_type="application/msgpack",
                app_id="glassrabbit",
                headers={"v": 1, "sent_at": now_ms},
                delivery_mode=2,
            ),
            mandatory=True,
        )
        self._unconfirmed.add(None if is_answered else on_done)
        if is_answered:
            self._waiting[task_id] = on_done

    def _confirmed(self, frame: Any) -> None:
        for on_confirm in self._unconfirmed.take(frame):
            if on_confirm is not None:
                on_confirm()

    def _on_reply(self, _channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        reply = msgpack.unpackb(body)
        if "result" not in reply or reply["id"] != properties.correlation_id:
            give_up(f"a task failed: {reply}")
        self._waiting.pop(reply["id"])()


async def main(task: str) -> None:
    await serve(await BareRequester.open(task))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
