import threading
from collections.abc import Callable

from pika.adapters.blocking_connection import BlockingChannel


def serve(channel: BlockingChannel, stop: threading.Event, handle: Callable[[bytes], None]) -> None:
    for method, _, body in channel.consume("queue_a", inactivity_timeout=0.1):
        if method is not None and not stop.is_set():
            handle(body)
            channel.basic_ack(method.delivery_tag)
        if stop.is_set():
            return
