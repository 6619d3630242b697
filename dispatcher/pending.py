"""The calls that wait for their end. Pure: ids and ends go in; the clock is a parameter.

A call ends once, by the first of: a reply, the broker's acceptance if no reply is wanted, an error, its
deadline. Later replies to it are duplicates, and replies to ids that were never asked here are strangers; both
are counted and dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from broker.errors import Refused
from dispatcher.request import Request
from protocol.errors import GlassrabbitError
from protocol.reply import Reply

#: Ended ids that are remembered to tell a duplicate from a stranger.
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Accepted:
    """The broker has the task, and nobody here waits for more."""


End = Reply | Accepted | GlassrabbitError


@dataclass(slots=True, eq=False, kw_only=True)
class Pending:
    """One task that was sent, or is about to be."""

    request: Request
    timeout_s: float
    deadline_s: float
    #: Called once, with how it ended.
    on_end: Callable[[End], None]
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

    @property
    def id(self) -> str:
        return self.request.task.id


@dataclass(slots=True)
class PendingCalls:
    """All of them, in the order in which they were made."""

    calls: dict[str, Pending] = field(default_factory=dict)
    #: Calls that ended with a reply.
    replies: int = 0
    duplicates: int = 0
    strangers: int = 0
    _ended: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def add(self, call: Pending) -> None:
        self.calls[call.id] = call

    def end(self, task_id: str, end: End) -> bool:
        """End a call; False if it had ended before, or was never made here."""
        call = self.calls.pop(task_id, None)
        if call is None:
            if task_id in self._ended:
                self.duplicates += 1
            else:
                self.strangers += 1
            return False
        self._remember(task_id)
        self.replies += isinstance(end, Reply)
        call.on_end(end)
        return True

    def forget(self, task_id: str) -> None:
        """The caller gave up: whatever comes for this id is a duplicate from now on."""
        if self.calls.pop(task_id, None) is not None:
            self._remember(task_id)

    def overdue(self, now_s: float) -> list[Pending]:
        return [call for call in self.calls.values() if call.deadline_s <= now_s]

    def to_ask_again(self) -> list[Pending]:
        """What a new channel has to publish: all that wants a reply, and whatever was never confirmed."""
        return [call for call in self.calls.values() if call.wants_reply or not call.accepted]

    def _remember(self, task_id: str) -> None:
        self._ended[task_id] = None
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
