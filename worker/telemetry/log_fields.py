"""What a line of a worker's log is about, as fields of its own; ``broker.console.log_json`` lists their names."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.console.logs import TASKS
from worker.context import current

if TYPE_CHECKING:
    # Not in a child, whose memory counts as often as there are children.
    from protocol.task import Task

_tasks = logging.getLogger(TASKS)


def about(task: Task, queue: str) -> dict[str, object]:
    """For ``extra=`` of a log call."""
    return {"task_id": task.id, "task": task.name, "queue": queue, "attempt": task.attempt}


def log_done(task_id: str, task: Task, queue: str, worker: str, ran_s: float) -> None:
    """One line for a task that went well, where ``worker.log_tasks`` asks for it. ``task`` may be its batch."""
    fields = {**about(task, queue), "task_id": task_id}
    text = "task %s (%s) attempt %d done in %.3f s by %s"
    _tasks.info(text, task_id, task.name, task.attempt, ran_s, worker, extra=fields)


def of_worker(pid: int) -> Callable[[], dict[str, object]]:
    """The fields of all that is logged in a worker and its children: which worker, and the task that runs here.

    ``pid`` is the worker's.
    """
    worker = f"{socket.gethostname()}:{pid}"

    def fields() -> dict[str, object]:
        try:
            here = current()
        except LookupError:
            return {"worker": worker}
        return {
            "worker": worker,
            "task_id": here.id,
            "task": here.task,
            "queue": here.queue,
            "attempt": here.attempt,
        }

    return fields
