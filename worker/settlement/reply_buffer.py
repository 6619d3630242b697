"""The replies of runs that went well: posted, and nothing waits for them until they are confirmed.

Replies that are there together leave together in one message: those of a batch, and all that go to a requester who
says that it reads joined ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from broker.errors import PublishError
from protocol.batch import join_replies
from protocol.limits import JOINED_BYTES, Limits
from protocol.reply import DONE, PackedReply
from worker.failpoint import failpoint
from worker.intake.batch import Batch
from worker.intake.ledger import Running
from worker.intake.whole import Share
from worker.settlement.outbox import Outbox
from worker.settlement.replies import Replies

Ended = tuple[Running, PackedReply] | Share


class Answers:
    """``add`` a reply; one of two hears of it, once."""

    def __init__(
        self,
        replies: Replies,
        outbox: Outbox,
        limits: Limits,
        close: Callable[[Running, PackedReply], None],
        close_share: Callable[[Share], None],
        insist: Callable[[Running, PackedReply, PublishError | None], None],
    ) -> None:
        """``close`` and ``close_share``: whoever asked last was sent the reply, or replies, confirmed. ``insist``:
        that was not so, for this reason if there is one, and it is to be sent for as long as it takes."""
        self._replies = replies
        self._outbox = outbox
        #: Less the head of an array.
        self._most_bytes = min(JOINED_BYTES, limits.body_bytes) - 5
        self._close = close
        self._close_share = close_share
        self._insist = insist
        self._stopped = False
        #: By the address that they go to, and the batch of which alone they may be.
        self._waiting: dict[tuple[str | None, Batch | None], list[Ended]] = {}

    def add(self, running: Running, reply: PackedReply, batch: Batch | None) -> None:
        """Send it: now, or at the end of this turn of the loop with those that it may go together with."""
        if running.joined_replies:
            batch = None
        elif batch is None:
            self._post(running.reply_to, reply, ((running, reply),))
            return
        self._wait(running.reply_to, batch, (running, reply))

    def add_share(self, share: Share) -> None:
        """The same for tasks of a whole."""
        task = share.whole.batch.task
        batch = None if task.joined_replies else share.whole.batch
        for portion in share.within(self._most_bytes):
            self._wait(task.reply_to, batch, portion)

    def stop(self) -> None:
        """Do nothing any more about anything."""
        self._stopped = True

    def _wait(self, reply_to: str | None, batch: Batch | None, ended: Ended) -> None:
        if not self._waiting and not self._outbox.before_write(self._flush):
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.setdefault((reply_to, batch), []).append(ended)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        if self._stopped:
            return
        for (reply_to, batch), together in waiting.items():
            for ended in _portions(together, self._most_bytes):
                self._post(reply_to, _message(ended, batch), ended)

    def _post(self, reply_to: str | None, message: PackedReply, ended: Sequence[Ended]) -> None:
        if not self._replies.post(reply_to, message, partial(self._posted, reply_to, ended)):
            for running, reply in _each(ended):
                self._insist(running, reply, None)

    def _posted(self, reply_to: str | None, ended: Sequence[Ended], problem: PublishError | None) -> None:
        """A message with these replies was accepted, or why it was not."""
        if self._stopped:
            return
        failpoint("after_reply_confirm")
        if problem is not None:
            each = list(_each(ended))
            for running, reply in each:
                # Of many together none is to blame for a connection that ended.
                self._insist(running, reply, problem if len(each) == 1 else None)
            return
        for one in ended:
            if isinstance(one, Share):
                one, singles = one.without_singles()
                if one.ids:
                    self._close_share(one)
            else:
                singles = [one]
            for running, reply in singles:
                if running.reply_to == reply_to:
                    self._close(running, reply)
                else:
                    self._insist(running, reply, None)


def _each(ended: Sequence[Ended]) -> Iterator[tuple[Running, PackedReply]]:
    for one in ended:
        if isinstance(one, Share):
            yield from one.singled_out()
        else:
            yield one


def _message(ended: Sequence[Ended], batch: Batch | None) -> PackedReply:
    """One message with all these replies."""
    first = ended[0]
    if not isinstance(first, Share) and len(ended) == 1:
        return first[1]
    bodies: list[bytes] = []
    for one in ended:
        if isinstance(one, Share):
            bodies += one.bodies
        else:
            bodies.append(one[1].body)
    first_id = first.ids[0] if isinstance(first, Share) else first[1].id
    if len(bodies) == 1:
        return PackedReply(id=first_id, type=DONE, body=bodies[0])
    return join_replies(first_id if batch is None else batch.task.id, bodies)


def _portions(together: list[Ended], most_bytes: int) -> Iterator[list[Ended]]:
    """In order, as many as go into a message."""
    portion: list[Ended] = []
    size = 0
    for entry in together:
        entry_size = entry.size if isinstance(entry, Share) else len(entry[1].body)
        size += entry_size
        if portion and size > most_bytes:
            yield portion
            portion, size = [], entry_size
        portion.append(entry)
    yield portion
