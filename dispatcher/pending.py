"""The calls that wait for their end. Pure: ids and ends go in; the clock is a parameter.

A call ends once, by the first of: a reply, the broker's acceptance if no reply is wanted, an error, its
deadline. Later replies to it are duplicates, and replies to ids that were never asked here are strangers; both
are counted and dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from broker.errors import PublishError
from dispatcher.request import Request
from protocol.errors import GlassrabbitError
from protocol.names import new_id
from protocol.reply import Reply

#: Ended ids that are remembered, to distinguish a duplicate from a stranger; at most twice as many and a
#: message's.
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Accepted:
    """The broker has the task, and nobody here waits for more."""


End = Reply | Accepted | GlassrabbitError
#: Called with how tasks ended by their ids, with each once: with some of those of a message, or all.
OnEnd = Callable[[Mapping[str, End]], None]


@dataclass(slots=True, eq=False, kw_only=True)
class Pending:
    """Tasks that are sent in one message. What is said of them holds for each that is left."""

    #: Its ``tasks`` are those that have not ended.
    request: Request
    timeout_s: float
    deadline_s: float
    on_end: OnEnd
    #: False: they end once the broker has accepted them (a mailbox gets the reply, or nobody does).
    wants_reply: bool
    #: Try a refused publish again until the deadline.
    patient: bool = False
    #: The latest refusal that did not end it: what it ends with if none of its publishes may have been accepted.
    refusal: PublishError | None = None
    #: How often they were published.
    sent: int = 0
    accepted: bool = False
    #: A publish of them was lost with its confirm: nobody may say that the broker does not have them.
    uncertain: bool = False
    #: … and not because it, or what was beside it, was refused.
    is_lost: bool = False
    #: The id of the batch that they were last published as.
    batch_id: str = ""

    @property
    def ids(self) -> list[str]:
        """Of those that have not ended."""
        return list(self.request.tasks)


@dataclass(slots=True)
class PendingCalls:
    """All of them, in the order in which they were made."""

    #: By the id of each task.
    calls: dict[str, Pending] = field(default_factory=dict)
    batches: dict[str, Pending] = field(default_factory=dict)
    #: Calls that ended with a reply.
    replies: int = 0
    duplicates: int = 0
    strangers: int = 0
    #: No deadline is before this.
    _earliest_s: float = math.inf
    #: Ids that ended of late, and those before them.
    _ended: set[str] = field(default_factory=set)
    _ended_before: set[str] = field(default_factory=set)

    def add(self, call: Pending) -> None:
        self.calls.update(dict.fromkeys(call.request.tasks, call))
        if call.deadline_s < self._earliest_s:
            self._earliest_s = call.deadline_s

    def batch_id(self, call: Pending) -> str:
        """These are about to be published in one message: the id of their batch, or nothing for a single one."""
        self._leave(call)
        if len(call.request.tasks) > 1:
            call.batch_id = new_id()
            self.batches[call.batch_id] = call
        return call.batch_id

    def end(self, task_id: str, end: End) -> bool:
        """End a call; False if it had ended before, or was never made here.

        A failure with the id of a batch ends all calls of it: the batch was refused, or buried, as a whole.
        """
        call = self.calls.pop(task_id, None)
        if call is None:
            return self._end_batch(task_id, end)
        self._report(call, {task_id: end})
        return True

    def end_all(self, replies: Iterable[Reply]) -> None:
        """End the calls of many replies; ``on_end`` is called once for those of one message that stand
        together."""
        call: Pending | None = None
        ended: dict[str, End] = {}
        for reply in replies:
            task_id = reply.id
            of_this = self.calls.get(task_id)
            if of_this is not call:
                if call is not None:
                    self._report(call, ended)
                call, ended = of_this, {}
            if of_this is None:
                self._end_batch(task_id, reply)
            else:
                del self.calls[task_id]
                ended[task_id] = reply
        if call is not None:
            self._report(call, ended)

    def _report(self, call: Pending, ended: dict[str, End]) -> None:
        """These of its tasks have ended, and are no longer among the calls."""
        self._take_out(call, ended)
        self.replies += [*map(type, ended.values())].count(Reply)
        call.on_end(ended)

    def _end_batch(self, batch_id: str, end: End) -> bool:
        call = self.batches.get(batch_id)
        if call is not None and isinstance(end, Reply) and end.failure is not None:
            for task_id in call.ids:
                self.end(task_id, replace(end, id=task_id))
            return True
        if batch_id in self._ended or batch_id in self._ended_before:
            self.duplicates += 1
        else:
            self.strangers += 1
        return False

    def forget(self, task_id: str) -> None:
        """The caller gave up: whatever comes for this id is a duplicate from now on."""
        if (call := self.calls.pop(task_id, None)) is not None:
            self._take_out(call, (task_id,))

    def overdue(self, now_s: float) -> list[Pending]:
        if now_s < self._earliest_s:
            return []
        calls = self._each()
        self._earliest_s = min((call.deadline_s for call in calls if call.deadline_s > now_s), default=math.inf)
        return [call for call in calls if call.deadline_s <= now_s]

    def to_ask_again(self) -> list[Pending]:
        """What a new channel has to publish: all that wants a reply, and whatever was never confirmed.

        What is left of a batch stays together.
        """
        return [call for call in self._each() if call.wants_reply or not call.accepted]

    def _each(self) -> list[Pending]:
        return list(dict.fromkeys(self.calls.values()))

    def _take_out(self, call: Pending, ids: Collection[str]) -> None:
        tasks = call.request.tasks
        for task_id in ids:
            del tasks[task_id]
        if not tasks:
            self._leave(call)
        self._remember(ids)

    def _leave(self, call: Pending) -> None:
        """No longer in the batch that they were last published as."""
        if call.batch_id:
            del self.batches[call.batch_id]
            self._remember((call.batch_id,))
            call.batch_id = ""

    def _remember(self, ended: Collection[str]) -> None:
        self._ended.update(ended)
        if len(self._ended) >= REMEMBERED:
            self._ended, self._ended_before = set(), self._ended
