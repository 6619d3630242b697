"""The task as Dramatiq's actor: published with confirms, to a quorum queue; it has no replies over AMQP."""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from tests.benchmarks.peers.counter import Counter


class QuorumBroker(RabbitmqBroker):  # type: ignore[misc]
    """Dramatiq declares classic queues, and has no setting for it."""

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        arguments: dict[str, Any] = super()._build_queue_arguments(queue_name)
        return {**arguments, "x-queue-type": "quorum"}


QUEUE = os.environ["BENCH_QUEUE"]
dramatiq.set_broker(QuorumBroker(url=os.environ["BROKER_URL"], confirm_delivery=True, middleware=[]))
_counter = Counter()


@dramatiq.actor(actor_name="bench.noop", queue_name=QUEUE)  # type: ignore[untyped-decorator]
def noop(data: str) -> None:
    _counter.add()
