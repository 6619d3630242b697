"""The calls that wait for their end. Pure: ids and ends go in; the clock is a parameter.

A call ends once, by the first of: a reply, the broker's acceptance if no reply is wanted, an error, its
deadline. Later replies to it are duplicates, and replies to ids that were never asked here are strangers; both
are counted and dropped.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from broker.errors import Refused
from dispatcher.request import Request
from protocol.errors import GlassrabbitError
from protocol.names import new_id
from protocol.reply import Reply

#: Ended ids that are remembered to tell a duplicate from a stranger.
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Accepted:
    """The broker has the task, and nobody here waits for more."""


End = Reply | Accepted | GlassrabbitError


@dataclass(slots=True, eq=False)
class Batch:
    """A message with many tasks, of which some have not ended."""

    id: str
    left: int


@dataclass(slots=True, eq=False, kw_only=True)
class Pending:
    """One task that was sent, or is about to be."""

    request: Request
    timeout_s: float
    deadline_s: float
    #: Called once, with its id and how it ended.
    on_end: Callable[[str, End], None]
    #: False: it ends once the broker has accepted it (a mailbox gets the reply, or nobody does).
    wants_reply: bool
    #: Try a refused publish again until the deadline.
    patient: bool = False
    #: The latest refusal of a patient call: what it ends with if none of its publishes is accepted.
    refusal: Refused | None = None
    #: How often it was published.
    sent: int = 0
    accepted: bool = False
    #: A publish of it was lost with its confirm: nobody may say that the broker does not have it.
    uncertain: bool = False
    #: The message with many tasks that it was last published in.
    batch: Batch | None = None

    @property
    def id(self) -> str:
        return self.request.id


@dataclass(slots=True)
class PendingCalls:
    """All of them, in the order in which they were made."""

    calls: dict[str, Pending] = field(default_factory=dict)
    batches: dict[str, Batch] = field(default_factory=dict)
    #: Calls that ended with a reply.
    replies: int = 0
    duplicates: int = 0
    strangers: int = 0
    #: No deadline is before this.
    _earliest_s: float = math.inf
    _ended: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def add(self, call: Pending) -> None:
        self.calls[call.id] = call
        if call.deadline_s < self._earliest_s:
            self._earliest_s = call.deadline_s

    def join(self, calls: Sequence[Pending]) -> Batch | None:
        """These calls are about to be published in one message: its batch, or None for a single one."""
        for call in calls:
            self._leave(call)
            call.batch = None
        if len(calls) == 1:
            return None
        batch = Batch(new_id(), len(calls))
        self.batches[batch.id] = batch
        for call in calls:
            call.batch = batch
        return batch

    def end(self, task_id: str, end: End) -> bool:
        """End a call; False if it had ended before, or was never made here.

        A failure with the id of a batch ends all calls of it: the batch was refused, or buried, as a whole.
        """
        call = self.calls.pop(task_id, None)
        if call is None:
            return self._end_batch(task_id, end)
        self._forget(call)
        self.replies += isinstance(end, Reply)
        call.on_end(task_id, end)
        return True

    def _end_batch(self, batch_id: str, end: End) -> bool:
        batch = self.batches.get(batch_id)
        if batch is not None and isinstance(end, Reply) and end.failure is not None:
            for call in [call for call in self.calls.values() if call.batch is batch]:
                self.end(call.id, replace(end, id=call.id))
            return True
        if batch_id in self._ended:
            self.duplicates += 1
        else:
            self.strangers += 1
        return False

    def forget(self, task_id: str) -> None:
        """The caller gave up: whatever comes for this id is a duplicate from now on."""
        if (call := self.calls.pop(task_id, None)) is not None:
            self._forget(call)

    def overdue(self, now_s: float) -> list[Pending]:
        if now_s < self._earliest_s:
            return []
        late = [call for call in self.calls.values() if call.deadline_s <= now_s]
        self._earliest_s = min(
            (call.deadline_s for call in self.calls.values() if call.deadline_s > now_s), default=math.inf
        )
        return late

    def to_ask_again(self) -> list[list[Pending]]:
        """What a new channel has to publish: all that wants a reply, and whatever was never confirmed.

        What is left of a batch stays together.
        """
        messages: dict[Batch | Pending, list[Pending]] = {}
        for call in self.calls.values():
            if call.wants_reply or not call.accepted:
                messages.setdefault(call.batch or call, []).append(call)
        return list(messages.values())

    def _forget(self, call: Pending) -> None:
        self._leave(call)
        self._remember(call.id)

    def _leave(self, call: Pending) -> None:
        batch = call.batch
        if batch is None:
            return
        batch.left -= 1
        if not batch.left:
            del self.batches[batch.id]
            self._remember(batch.id)

    def _remember(self, task_id: str) -> None:
        self._ended[task_id] = None
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
