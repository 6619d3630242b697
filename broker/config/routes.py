"""Which queue is whose: the one rule by which a worker refuses a task, and an operator's move a queue. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from broker.config.settings import TaskSettings
from protocol.errors import ErrorCode, Malformed


def require_home(tasks: Mapping[str, TaskSettings], task: str, queue: str) -> None:
    """Raises ``Malformed`` if the workers of ``queue`` do not do this task: ``unknown_task``, ``wrong_queue``."""
    settings = tasks.get(task)
    if settings is None:
        raise Malformed(ErrorCode.UNKNOWN_TASK, f"this worker's configuration has no task {task}")
    if settings.queue != queue:
        raise Malformed(ErrorCode.WRONG_QUEUE, f"{task} belongs to {settings.queue}, it came by {queue}")
