"""For tests of handlers, which are functions: to call one is to test it. Starts nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from worker.context import Current, enter


@contextmanager
def running(
    task: str = "task", *, task_id: str = "0" * 32, queue: str = "queue", attempt: int = 1, max_attempts: int = 4
) -> Iterator[Current]:
    """What is called in the block finds this task in ``current()``, as if a worker ran it."""
    context = Current(task_id, task, queue, attempt, max_attempts)
    token = enter(context)
    try:
        yield context
    finally:
        token.var.reset(token)
