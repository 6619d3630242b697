from collections.abc import Callable
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel

from tests.exercises.exercise_09_cancelled import QUORUM


def consume(channel: BlockingChannel, queues: list[str], handle: Callable[..., None]) -> None:
    consumed: dict[str, str] = {}

    def begin(queue: str) -> None:
        channel.queue_declare(queue, durable=True, arguments=QUORUM)
        consumed[channel.basic_consume(queue, handle)] = queue

    def cancelled(frame: Any) -> None:
        begin(consumed.pop(frame.method.consumer_tag))

    channel.add_on_cancel_callback(cancelled)
    for queue in queues:
        begin(queue)
