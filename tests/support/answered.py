"""Whether a dispatcher publishes a task again although it was told its end. Knows AMQP, and no code of ours."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from tests.support.frames import Event

_DIRECT = "amq.rabbitmq.reply-to"
_TASKS = "tasks"
_LINE = "tasks.delay."
#: A client that says anything so long after a reply was given to it has read that reply.
READ_S = 0.5


@dataclass(slots=True)
class _Link:
    name: str = ""
    #: Tags of consumers of direct replies.
    tags: set[str] = field(default_factory=set)
    #: What was given to the client and may not have been read: when, and of which task.
    given: list[tuple[float, str]] = field(default_factory=list)


class Answered:
    """``take`` each event of the connections of requesters; ``violations`` grows."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self._links: dict[int, _Link] = defaultdict(_Link)
        #: When each task was answered, to a client that has read it.
        self._read: dict[str, float] = {}

    def take(self, event: Event) -> None:
        link = self._links[event.connection]
        if event.by == "client":
            self._has_read(link, event.at)
        match event.kind:
            case "hello":
                link.name = event.name
            case "consume" if event.queue == _DIRECT:
                link.tags.add(event.name)
            case "deliver" if event.name in link.tags:
                link.given += [(event.at, task_id) for task_id in event.ids or (event.id,)]
            case "publish" if event.exchange == _TASKS or event.exchange.startswith(_LINE):
                for task_id in event.ids or (event.id,):
                    if task_id in self._read:
                        said = f"{task_id} was answered at {self._read[task_id]:.3f}"
                        self.violations.append(f"{event.at:.3f} {link.name}: {said}, and is published again")
            case "end":
                del self._links[event.connection]

    def _has_read(self, link: _Link, at: float) -> None:
        read = sum(given_at + READ_S <= at for given_at, _ in link.given)
        self._read.update({task_id: given_at for given_at, task_id in link.given[:read]})
        del link.given[:read]
