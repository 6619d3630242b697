"""The replies of tasks that went well, until the end of this turn of the loop: those that may go together leave in
one message.

These are the replies of one batch, and all that go to a requester who says that it reads joined ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from broker.errors import ConfirmLost, PublishError
from protocol.batch import join_replies
from protocol.limits import JOINED_BYTES, Limits
from protocol.reply import DONE, PackedReply
from worker.failpoint import failpoint
from worker.intake.batch import Batch, Solo
from worker.settlement.outbox import Outbox
from worker.settlement.replies import Replies

_after_reply_confirm = failpoint("after_reply_confirm")

#: Tasks of a batch, or one by itself; their positions in their batch; the bodies of their replies.
Portion = tuple[Batch | Solo, Sequence[int], Sequence[bytes]]
#: The address, what was sent to it in one message, and why that was not accepted if it was not.
OnReplied = Callable[[str | None, Sequence[Portion], PublishError | None], None]


class ReplyBuffer:
    """``add``; each reply that was added is reported once."""

    def __init__(self, replies: Replies, outbox: Outbox, limits: Limits, on_replied: OnReplied) -> None:
        self._replies = replies
        self._outbox = outbox
        #: Less the head of an array.
        self._most_bytes = min(JOINED_BYTES, limits.body_bytes) - 5
        self._on_replied = on_replied
        #: By the address that they go to, and the batch of which alone they may be.
        self._waiting: dict[tuple[str | None, Batch | None], list[Portion]] = {}

    def add(self, portion: Portion) -> None:
        """Send these when this turn of the loop ends."""
        owner = portion[0]
        if isinstance(owner, Solo):
            key = owner.reply_to, None if owner.joined_replies else owner.home
        else:
            key = owner.task.reply_to, None if owner.task.joined_replies else owner
        if not self._waiting and not self._outbox.before_write(self._flush):
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.setdefault(key, []).append(portion)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for (reply_to, _), portions in waiting.items():
            for together in _within(portions, self._most_bytes):
                if not self._replies.post(reply_to, _message(together), partial(self._posted, reply_to, together)):
                    self._on_replied(reply_to, together, ConfirmLost("there is no channel to send by", sent=False))

    def _posted(self, reply_to: str | None, together: Sequence[Portion], problem: PublishError | None) -> None:
        if _after_reply_confirm:
            _after_reply_confirm(1)
        self._on_replied(reply_to, together, problem)


def _within(portions: Sequence[Portion], most_bytes: int) -> Iterator[Sequence[Portion]]:
    """In order, as many as go into a message."""
    if sum(len(body) for _, _, bodies in portions for body in bodies) <= most_bytes:
        yield portions
        return
    together: list[Portion] = []
    size = 0
    for owner, positions, bodies in _cut(portions, most_bytes):
        portion_size = sum(map(len, bodies))
        if together and size + portion_size > most_bytes:
            yield together
            together, size = [], 0
        together.append((owner, positions, bodies))
        size += portion_size
    yield together


def _cut(portions: Sequence[Portion], most_bytes: int) -> Iterator[Portion]:
    """In portions that fit into a message, or hold one reply."""
    for owner, positions, bodies in portions:
        if len(bodies) == 1 or sum(map(len, bodies)) <= most_bytes:
            yield owner, positions, bodies
        else:
            half = len(bodies) // 2
            halves = [(owner, positions[:half], bodies[:half]), (owner, positions[half:], bodies[half:])]
            yield from _cut(halves, most_bytes)


def _message(together: Sequence[Portion]) -> PackedReply:
    """One message with all these replies."""
    owner, positions, bodies = together[0]
    batch = owner.home if isinstance(owner, Solo) else owner
    first_id = batch.ids[positions[0]]
    if len(together) == len(bodies) == 1:
        return PackedReply(id=first_id, type=DONE, body=bodies[0])
    joined_id = first_id if owner.task.joined_replies else batch.task.id
    return join_replies(joined_id, [body for _, _, some in together for body in some])
