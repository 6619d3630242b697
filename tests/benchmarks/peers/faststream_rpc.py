"""FastStream's ``request``: ``worker QUEUE`` or ``requester QUEUE``."""

from __future__ import annotations

import asyncio
import os
import sys

from faststream import FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue

from tests.benchmarks.requester import in_window, serve
from tests.benchmarks.work import DATA, PREFETCH


class FastStreamRequester:
    """One request at a time: FastStream makes those that come at once wait for each other, and that is slower."""

    def __init__(self, broker: RabbitBroker, queue: RabbitQueue) -> None:
        self._broker = broker
        self._queue = queue
        self._alone = asyncio.Lock()

    async def many(self, tasks: int, window: int) -> None:
        await in_window(tasks, window, self.one)

    async def one(self) -> None:
        async with self._alone:
            await self._broker.request({"data": DATA}, self._queue, persist=True)

    async def send(self) -> None:
        await self._broker.publish({"data": DATA}, self._queue, persist=True)


async def main(role: str, name: str) -> None:
    broker = RabbitBroker(os.environ["BROKER_URL"], default_channel=Channel(prefetch_count=PREFETCH), logger=None)
    queue = RabbitQueue(name, queue_type=QueueType.QUORUM, durable=True)
    if role == "requester":
        await broker.start()
        await serve(FastStreamRequester(broker, queue))
        return

    @broker.subscriber(queue)  # type: ignore[untyped-decorator]
    async def noop(message: dict[str, str]) -> None:
        """Does nothing. One parameter alone takes the whole body."""

    app = FastStream(broker, logger=None)

    @app.after_startup  # type: ignore[untyped-decorator]
    async def on_ready() -> None:
        print("ready", flush=True)

    await app.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
