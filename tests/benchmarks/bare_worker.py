"""A worker on bare pika: the same hops and the same promises as ours, and nothing else.

Consume and ack on one connection; publish the reply on another, and ack once its confirm is there.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import Any

import msgpack
import pika

from tests.benchmarks.bare import Unconfirmed, confirmed, consume, open_channel
from tests.benchmarks.handlers import noop


async def main(queue: str, prefetch: int) -> None:
    deliveries, replies = await open_channel(), await open_channel()
    identity = f"{socket.gethostname()}:{os.getpid()}"
    unconfirmed = Unconfirmed()

    def on_delivery(_channel: Any, method: Any, properties: Any, body: bytes) -> None:
        result = noop(**msgpack.unpackb(body))  # type: ignore[func-returns-value]
        if properties.reply_to is None:
            deliveries.basic_ack(method.delivery_tag)
            return
        run = {"attempts": 1, "worker": identity, "queued_ms": 0, "ran_ms": 0}
        replies.basic_publish(
            "",
            properties.reply_to,
            msgpack.packb({"id": properties.message_id, **run, "result": result}),
            pika.BasicProperties(
                type="done",
                correlation_id=properties.correlation_id,
                content_type="application/msgpack",
                app_id="glassrabbit",
                delivery_mode=2,
            ),
        )
        unconfirmed.add(method.delivery_tag)

    def on_confirm(frame: Any) -> None:
        for tag in unconfirmed.take(frame):
            deliveries.basic_ack(tag)

    await confirmed(replies, on_confirm)
    deliveries.basic_qos(prefetch_count=prefetch)
    await consume(deliveries, queue, on_delivery)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
