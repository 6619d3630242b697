"""The task as Taskiq's: over AMQP it has no replies."""

from __future__ import annotations

import os

from taskiq_aio_pika import AioPikaBroker, Queue, QueueType

from tests.benchmarks.peers.counter import Counter
from tests.benchmarks.work import PREFETCH

QUEUE = os.environ["BENCH_QUEUE"]
broker = AioPikaBroker(
    os.environ["BROKER_URL"], qos=PREFETCH, task_queues=[Queue(name=QUEUE, type=QueueType.QUORUM)]
)
_counter = Counter()


@broker.task(task_name="bench.noop")  # type: ignore[untyped-decorator]
async def noop(data: str) -> None:
    _counter.add()
