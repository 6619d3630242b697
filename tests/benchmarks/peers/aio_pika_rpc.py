"""aio-pika's RPC pattern, with msgpack in place of pickle: ``worker QUEUE`` or ``requester QUEUE``."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import aio_pika
import msgpack
from aio_pika.patterns import RPC

from tests.benchmarks.requester import in_window, serve
from tests.benchmarks.work import ARGUMENTS, PREFETCH


class MsgpackRPC(RPC):  # type: ignore[misc]
    CONTENT_TYPE = "application/msgpack"

    def serialize(self, data: Any) -> bytes:
        packed: bytes = msgpack.packb(data)
        return packed

    def deserialize(self, data: bytes) -> Any:
        return msgpack.unpackb(data)


class AioPikaRequester:
    def __init__(self, rpc: RPC, queue: str) -> None:
        self._rpc = rpc
        self._queue = queue

    async def many(self, tasks: int, window: int) -> None:
        await in_window(tasks, window, self.one)

    async def one(self) -> None:
        await self._rpc.call(self._queue, kwargs=ARGUMENTS, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)

    async def send(self) -> None:
        raise SystemExit("the RPC pattern has no tasks that nobody waits for")


async def noop(data: str) -> None:
    """Does nothing."""


async def main(role: str, queue: str) -> None:
    connection = await aio_pika.connect_robust(os.environ["BROKER_URL"])
    channel = await connection.channel(publisher_confirms=True)
    await channel.set_qos(PREFETCH)
    rpc = await MsgpackRPC.create(channel)
    if role == "requester":
        await serve(AioPikaRequester(rpc, queue))
        return
    await rpc.register(queue, noop, durable=True, arguments={"x-queue-type": "quorum"})
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
