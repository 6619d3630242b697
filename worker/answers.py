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
from protocol.reply import PackedReply
from worker.batch import Batch
from worker.failpoint import failpoint
from worker.ledger import Running
from worker.outbox import Outbox
from worker.replies import Replies

Ended = tuple[Running, PackedReply]


class Answers:
    """``add`` a reply; one of two hears of it, once."""

    def __init__(
        self,
        replies: Replies,
        outbox: Outbox,
        limits: Limits,
        close: Callable[[Running, PackedReply], None],
        insist: Callable[[Running, PackedReply, PublishError | None], None],
    ) -> None:
        """``close``: whoever asked last was sent the reply, confirmed. ``insist``: that was not so, for this
        reason if there is one, and it is to be sent for as long as it takes."""
        self._replies = replies
        self._outbox = outbox
        #: Less the head of an array.
        self._most_bytes = min(JOINED_BYTES, limits.body_bytes) - 5
        self._close = close
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
        if not self._waiting and not self._outbox.before_write(self._flush):
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.setdefault((running.reply_to, batch), []).append((running, reply))

    def stop(self) -> None:
        """Do nothing any more about anything."""
        self._stopped = True

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        if self._stopped:
            return
        for (reply_to, batch), together in waiting.items():
            for ended in _portions(together, self._most_bytes):
                replies = [reply for _, reply in ended]
                message = replies[0]
                if len(replies) > 1:
                    message = join_replies(message.id if batch is None else batch.task.id, replies)
                self._post(reply_to, message, ended)

    def _post(self, reply_to: str | None, message: PackedReply, ended: Sequence[Ended]) -> None:
        if not self._replies.post(reply_to, message, partial(self._posted, reply_to, ended)):
            for running, reply in ended:
                self._insist(running, reply, None)

    def _posted(self, reply_to: str | None, ended: Sequence[Ended], problem: PublishError | None) -> None:
        """A message with these replies was accepted, or why it was not."""
        if self._stopped:
            return
        failpoint("after_reply_confirm")
        for running, reply in ended:
            if problem is None and running.reply_to == reply_to:
                self._close(running, reply)
            else:
                # Of many together none is to blame for a connection that ended.
                self._insist(running, reply, problem if len(ended) == 1 else None)


def _portions(together: list[Ended], most_bytes: int) -> Iterator[list[Ended]]:
    """In order, as many as go into a message."""
    portion: list[Ended] = []
    size = 0
    for entry in together:
        size += len(entry[1].body)
        if portion and size > most_bytes:
            yield portion
            portion, size = [], len(entry[1].body)
        portion.append(entry)
    yield portion
