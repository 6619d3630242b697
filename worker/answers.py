"""The replies of runs that went well: posted, and nothing waits for them until they are confirmed.

Replies of a batch that are there together leave together, in one message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from broker.errors import PublishError
from protocol.batch import join_replies
from protocol.reply import PackedReply
from worker.batch import Batch
from worker.failpoint import failpoint
from worker.ledger import Running
from worker.replies import Replies

Ended = tuple[Running, PackedReply]


class Answers:
    """``add`` a reply; one of two hears of it, once."""

    def __init__(
        self,
        replies: Replies,
        close: Callable[[Running, PackedReply], None],
        insist: Callable[[Running, PackedReply, PublishError | None], None],
    ) -> None:
        """``close``: whoever asked last was sent the reply, confirmed. ``insist``: that was not so, for this
        reason if there is one, and it is to be sent for as long as it takes."""
        self._replies = replies
        self._close = close
        self._insist = insist
        self._stopped = False

    def add(self, running: Running, reply: PackedReply, batch: Batch | None) -> None:
        """Send it: now, or at the end of this turn of the loop with others of its batch."""
        if batch is None:
            self._post(running.reply_to, reply, ((running, reply),))
        else:
            if not batch.replies:
                asyncio.get_running_loop().call_soon(self._flush, batch)
            batch.replies.append((running, reply))

    def stop(self) -> None:
        """Do nothing any more about anything."""
        self._stopped = True

    def _flush(self, batch: Batch) -> None:
        if self._stopped:
            return
        for ended in batch.messages():
            if len(ended) == 1:
                ((running, reply),) = ended
                self._post(running.reply_to, reply, ended)
            else:
                joined = join_replies(batch.task.id, [reply for _, reply in ended])
                self._post(batch.task.reply_to, joined, ended)

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
