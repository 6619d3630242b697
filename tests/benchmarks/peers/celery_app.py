"""The task as Celery's, with replies by ``rpc://``."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import worker_ready
from kombu import Queue

from tests.benchmarks.work import PREFETCH

CONCURRENCY = 2
QUEUE = os.environ["BENCH_QUEUE"]

app = Celery("bench", broker=os.environ["BROKER_URL"], backend="rpc://")
app.conf.update(
    task_queues=[Queue(QUEUE, routing_key=QUEUE, queue_arguments={"x-queue-type": "quorum"})],
    task_default_queue=QUEUE,
    task_acks_late=True,
    worker_detect_quorum_queues=True,
    worker_prefetch_multiplier=PREFETCH // CONCURRENCY,
    task_serializer="msgpack",
    result_serializer="msgpack",
    accept_content=["msgpack"],
    worker_enable_remote_control="BENCH_AS_IT_COMES" in os.environ,
    broker_connection_retry_on_startup=True,
)


@app.task(name="bench.noop")  # type: ignore[untyped-decorator]
def noop(data: str) -> None:
    """Does nothing."""


@worker_ready.connect  # type: ignore[untyped-decorator]
def _on_ready(**_further: Any) -> None:
    print("ready", flush=True)
