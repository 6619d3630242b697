"""Telling a requester, by the kind of its address; and the letter that is left where that cannot be done."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from broker.amqp.publisher import Message, OnEnd
from broker.errors import PublishError, Unroutable, Unsendable
from protocol.dead_letter import letter_properties
from protocol.errors import ErrorCode, Malformed
from protocol.limits import Limits
from protocol.names import DEAD, REPLIES, mailbox_of
from protocol.properties import Properties
from protocol.reply import PackedReply
from protocol.reply_address import ReplyKind, reply_kind, reply_node
from worker.failpoint import failpoint
from worker.settlement.outbox import Outbox, Undeliverable
from worker.settlement.reply_nodes import Nodes

_after_letter_confirm = failpoint("after_letter_confirm")

log = logging.getLogger("glassrabbit.worker")

#: How many addresses are remembered.
KEPT = 1024


class Replies:
    """Sends replies and dead letters by the outbox, confirmed."""

    def __init__(self, outbox: Outbox, worker: str, limits: Limits, *, mailboxes_only: bool) -> None:
        """``mailboxes_only`` (``replies: mailbox``): nothing is ever published to the default exchange."""
        self._outbox = outbox
        self._worker = worker
        self._limits = limits
        self._mailboxes_only = mailboxes_only
        self._nodes = Nodes()
        #: Addresses of nodes that are answered: a node that was admitted stays so.
        self._admitted: set[str | None] = set()

    def require_answerable(self, reply_to: str | None) -> None:
        """Raise ``Malformed`` (``bad_reply_to``) for a direct address of a node that is not to be answered."""
        if reply_to not in self._admitted and not self._is_answerable(reply_to):
            raise Malformed(
                ErrorCode.BAD_REPLY_TO, "reply_to is of an unknown node, and too many are known already"
            )

    def _is_answerable(self, reply_to: str | None) -> bool:
        node = reply_node(reply_to or "")
        if node is None or self._nodes.admits(node, self._outbox.link.cluster_name, time.monotonic()):
            if len(self._admitted) >= KEPT:
                self._admitted.clear()
            self._admitted.add(reply_to)
        return reply_to in self._admitted

    def post(self, reply_to: str | None, reply: PackedReply, on_end: OnEnd) -> bool:
        """Send a reply once; ``on_end`` hears what came of it. False if that cannot be done at present, or takes
        more than that: then nobody is called, and ``answer`` does it."""
        match reply_kind(reply_to):
            case ReplyKind.DIRECT if reply_to in self._admitted and not self._mailboxes_only:
                return self._outbox.post(_direct(str(reply_to), reply), on_end)
            case ReplyKind.NONE:
                on_end(None)
                return True
            case ReplyKind.MAILBOX:
                return self._outbox.post(_to_mailbox(str(reply_to), reply), on_end)
            case _:
                return False

    async def answer(
        self,
        reply_to: str | None,
        reply: PackedReply,
        queue: str | None,
        *,
        now_ms: int,
        problem: PublishError | None = None,
    ) -> None:
        """Send a reply and wait for its confirm. ``problem`` is what came of it when it was posted.

        A mailbox that does not exist turns the reply into a dead letter of ``queue`` (``no_mailbox``), so that
        it is not lost; without a queue it is given up. So is a direct address that the broker chokes on.
        """
        match reply_kind(reply_to):
            case ReplyKind.DIRECT if self._mailboxes_only:
                log.warning(
                    "task %s: no reply, since this installation answers to mailboxes only",
                    reply.id,
                    extra={"task_id": reply.id},
                )
            case ReplyKind.DIRECT if not self._is_answerable(reply_to):
                text = "task %s: no reply, its address is of an unknown node"
                log.warning(text, reply.id, extra={"task_id": reply.id})
            case ReplyKind.DIRECT:
                await self._answer_directly(str(reply_to), reply, problem)
            case ReplyKind.MAILBOX:
                await self._answer_mailbox(str(reply_to), reply, queue, now_ms, problem)
            case ReplyKind.NONE | None:
                return

    async def _answer_directly(self, address: str, reply: PackedReply, problem: PublishError | None) -> None:
        try:
            await self._outbox.send(_direct(address, reply), gives_up=(Unsendable,), problem=problem)
        except Undeliverable as error:
            self._nodes.penalise(reply_node(address) or "")
            log.warning("task %s: %s", reply.id, error, extra={"task_id": reply.id})

    async def _answer_mailbox(
        self, address: str, reply: PackedReply, queue: str | None, now_ms: int, problem: PublishError | None
    ) -> None:
        try:
            gives_up = Unroutable, Unsendable
            await self._outbox.send(_to_mailbox(address, reply), gives_up=gives_up, problem=problem)
        except Unroutable:
            log.warning(
                "task %s: %s does not exist", reply.id, address, extra={"task_id": reply.id, "queue": queue}
            )
            if queue is not None:
                text = f"{address} does not exist: the reply is the body of this letter"
                await self.bury(
                    reply.properties,
                    reply.body,
                    queue,
                    code=ErrorCode.NO_MAILBOX,
                    text=text,
                    now_ms=now_ms,
                    wanted=lambda: True,
                )

    async def bury(
        self,
        original: Properties,
        body: bytes,
        queue: str,
        *,
        code: ErrorCode,
        text: str,
        now_ms: int,
        wanted: Callable[[], bool],
    ) -> bool:
        """Write a dead letter with the body untouched, and wait for its confirm; False if no longer wanted."""
        properties = letter_properties(
            original,
            code=code,
            text=text,
            queue=queue,
            worker=self._worker,
            died_ms=now_ms,
            limits=self._limits,
        )
        message = Message(exchange=DEAD, routing_key=queue, body=body, properties=properties)
        buried = await self._outbox.send(message, wanted)
        if _after_letter_confirm:
            _after_letter_confirm(1)
        return buried


def _direct(address: str, reply: PackedReply) -> Message:
    return Message(exchange="", routing_key=address, body=reply.body, properties=reply.properties, mandatory=False)


def _to_mailbox(address: str, reply: PackedReply) -> Message:
    return Message(
        exchange=REPLIES, routing_key=mailbox_of(address) or "", body=reply.body, properties=reply.properties
    )
