"""Tasks that go to another queue as they are: attempts, history and reply address stay. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from broker.config.routes import require_home
from broker.config.settings import Settings
from broker.dead_letters.queue import Letter, read_letter
from broker.errors import ConfigError
from protocol.errors import Malformed
from protocol.task import Task


def require_target(settings: Settings, target: str, tasks: Sequence[str]) -> None:
    """Raises ``ConfigError`` if the workers of ``target`` do none of these tasks, or not one of any."""
    settings.require_queues([target])
    try:
        for task in tasks:
            require_home(settings.tasks, task, target)
    except Malformed as error:
        raise ConfigError([f"its workers would answer {error}. Change the task's queue first."]) from error
    if all(task.queue != target for task in settings.tasks.values()):
        raise ConfigError([f"no task belongs to {target}: its workers would answer wrong_queue to all."])


def moved(letter: Letter, settings: Settings, target: str) -> tuple[Task, list[str]]:
    """The task of a message as it goes to ``target``, with all that it has. Raises ``Malformed``, also for what
    the workers there would refuse."""
    task = read_letter(letter, settings.limits.messages, waits=True)
    require_home(settings.tasks, task.name, target)
    return task, []
