"""An installation whose workers are steered, and what a test says and sees of it by hand."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pika
from pika.exceptions import ConnectionClosedByBroker

from protocol.control import AnyRecord, Marker, exchange_of, pack, read
from protocol.errors import Malformed
from protocol.names import CONTROL_STREAM, new_id
from tests.support.commands import Ended, command
from tests.support.installation import Installation
from tests.support.vhost import Vhost
from tests.support.workers import WorkerProcess

CONTROL = {"enabled": True}
#: So short that it is over within a test; what still holds has to be written again and again.
SHORT = {"enabled": True, "retention_s": 4, "retention_bytes": 1024 * 1024}


def steer(installation: Installation, *words: str) -> Ended:
    """Run an operator's command, which has to go well."""
    ended = command(installation.environment, "broker", *words)
    assert ended.code == 0, ended.err
    return ended


def name_of(worker: WorkerProcess) -> str:
    """As its log and the commands name it."""
    return next(word for word in worker.lines("ready: ")[0].split() if word.endswith(f":{worker.pid}"))


def say(vhost: Vhost, record: AnyRecord, exchange: str | None = None, **properties: Any) -> None:
    """Write a record as a stranger could, by any exchange."""
    by = exchange_of(record) if exchange is None else exchange
    vhost.publish(by, CONTROL_STREAM, pack(record), pika.BasicProperties(delivery_mode=2, **properties))


def marker(by: str = "test") -> Marker:
    now_ms = time.time_ns() // 1_000_000
    return Marker(id=new_id(), by=by, at=now_ms, written=now_ms)


def kept(vhost: Vhost) -> list[tuple[int, AnyRecord]]:
    """What the stream still holds, each with its offset."""
    mark = marker()
    found: list[tuple[int, AnyRecord]] = []
    say(vhost, mark)
    # pika gives back what is unacked at the end, which RabbitMQ 3.10 answers by closing the connection.
    with contextlib.suppress(ConnectionClosedByBroker), vhost.connection() as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=500)
        for method, properties, body in channel.consume(
            CONTROL_STREAM, arguments={"x-stream-offset": "first"}, inactivity_timeout=20
        ):
            assert method is not None, "the marker did not come back"
            channel.basic_ack(method.delivery_tag)
            try:
                record = read(method.exchange, body)
            except Malformed:
                continue
            if record.id == mark.id:
                break
            found.append((int(properties.headers["x-stream-offset"]), record))
    return found


def fill(vhost: Vhost, kib: int) -> None:
    """Write so much of markers."""
    mark = marker("x" * 250)
    with vhost.channel() as channel:
        for _ in range(kib * 1024 // len(pack(mark))):
            channel.basic_publish(exchange_of(mark), CONTROL_STREAM, pack(mark))
