"""Which tasks were sent, read from the messages that passed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from broker.wire.values import Value
from glassrabbit_testing.traffic import Published
from protocol.batch import read_batch
from protocol.codec import decode_arguments
from protocol.limits import Limits


def submitted(published: Iterable[Published], limits: Limits) -> list[tuple[str, dict[str, Any]]]:
    """Task and arguments of each request, delayed ones and those of batches too; of what is sent again once."""
    known: dict[str, tuple[str, dict[str, Any]]] = {}
    for one in published:
        if one.is_task and "type" in one.properties:
            for task_id, body in _tasks(one, limits):
                known.setdefault(task_id, (str(one.properties["type"]), decode_arguments(body, limits)))
    return list(known.values())


def _tasks(message: Published, limits: Limits) -> Iterator[tuple[str, bytes]]:
    headers = message.properties.get("headers")
    table: dict[str, Value] = headers if isinstance(headers, dict) else {}
    if _number(table, "attempt") > 1 or _number(table, "replay") > 0:
        return
    if count := _number(table, "batch"):
        yield from read_batch(message.body, count, limits)
    else:
        yield str(message.properties.get("message_id")), message.body


def _number(table: dict[str, Value], name: str) -> int:
    value = table.get(name)
    return value if isinstance(value, int) else 0
