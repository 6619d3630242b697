"""Publishing what a delivery depends on: it is confirmed, or the delivery stays unacked.

One link of its own, so that an alarm, which stops the broker from reading what a connection publishes, does not
stop the acks of the other. A message is sent again, with pauses of 1, 2, 4 … 30 s, for as long as it is wanted:
the next hop may be full, unbound or gone for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial

from broker.amqp.answers import resolve
from broker.amqp.careful import CarefulPublisher
from broker.amqp.connection import Connection
from broker.amqp.link import Link, LinkSettings
from broker.amqp.link_state import State
from broker.amqp.publisher import REFUSALS, Message, OnEnd
from broker.backoff import Backoff
from broker.errors import ConfirmLost, ConnectionLost, PublishError, Unsendable
from worker.failpoint import failpoint

_after_publish = failpoint("after_publish")

log = logging.getLogger("glassrabbit.worker")

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
#: The broker's reply code when a forged reply address crashes its channel (RabbitMQ 3.10 and 4.0).
_INTERNAL_ERROR = 541
#: How often it is looked whether nothing is in flight any more.
QUIET_S = 0.01


#: Sees a message and who is called with its end; returns who is called instead.
ShownTo = Callable[[Message, OnEnd], OnEnd]


class Undeliverable(Unsendable):
    """This very message ends the connection each time it is sent. It was given up."""


class Outbox:
    """Sends messages until they are accepted. Life: ``run`` as a task → ``send`` → ``stop``."""

    def __init__(self, settings: LinkSettings, name: str, confirm_timeout_s: float) -> None:
        # Which message the broker chokes on is found out at the price of a connection each, while the others wait.
        self.link = Link(settings, name, self._set_up, quick_after=_INTERNAL_ERROR)
        self._confirm_timeout_s = confirm_timeout_s
        self._publisher: CarefulPublisher | None = None
        self._shown_to: ShownTo | None = None
        self._opened = asyncio.Event()
        self._suspects = 0
        self._alone = asyncio.Lock()
        self._calm = asyncio.Event()
        self._calm.set()
        #: How many messages each exchange does not take at present.
        self._refused: Counter[str] = Counter()

    @property
    def refused(self) -> int:
        """Messages that their next hop does not take at present."""
        return self._refused.total()

    @property
    def refused_by(self) -> list[str]:
        """The exchanges that do not take them."""
        return sorted(name or "amq.default" for name in +self._refused)

    async def run(self) -> None:
        watch = asyncio.create_task(self._watch())
        try:
            await self.link.run()
        finally:
            watch.cancel()

    async def _watch(self) -> None:
        """End a generation whose confirms do not come: one look at the oldest, not a timer for each."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(1.0, self._confirm_timeout_s / 4))
            # Under an alarm the broker has the message in its socket, and carries it out afterwards.
            if self._publisher is None or self.link.state is not State.OPEN:
                continue
            if loop.time() - self._publisher.oldest_s > self._confirm_timeout_s:
                self.link.fail(ConnectionLost(f"no confirm within {self._confirm_timeout_s:g} s"))

    async def stop(self, timeout_s: float) -> None:
        await self.link.stop(timeout_s)

    async def _set_up(self, connection: Connection) -> None:
        self._publisher = await CarefulPublisher.open(connection)
        self.show(self._shown_to)
        self._opened.set()

    def show(self, to: ShownTo | None) -> None:
        """Show each message that is sent from now on; to nobody, which costs nothing."""
        self._shown_to = to
        if (publisher := self._publisher) is not None:

            def send(message: Message, on_end: OnEnd, *, alone: bool = False) -> None:
                publisher.send(message, to(message, on_end) if to else on_end, alone=alone)

            self._send = publisher.send if to is None else send

    def post(self, message: Message, on_end: OnEnd) -> bool:
        """Send a message once and call ``on_end`` with None as soon as it is accepted, or with why it was not.
        False if there is nothing to send it by at present: then nobody is called.

        A caller that still wants it after an error goes on with ``send`` and that error.
        """
        publisher = self._publisher
        if publisher is None or not publisher.is_open or self._suspects:
            return False
        self._send(message, on_end)
        if _after_publish:
            _after_publish(1)
        return True

    def before_write(self, action: Callable[[], None]) -> bool:
        """Call back once, at the end of this turn of the loop: what is posted then leaves with all else. False if
        there is nothing to send by at present."""
        publisher = self._publisher
        if publisher is None or not publisher.is_open:
            return False
        publisher.before_write(action)
        return True

    async def send(
        self,
        message: Message,
        wanted: Callable[[], bool] = lambda: True,
        *,
        gives_up: tuple[type[PublishError], ...] = (),
        problem: PublishError | None = None,
    ) -> bool:
        """Return True once the message is accepted, False once it is no longer ``wanted``. ``problem`` is what
        came of it when it was posted before.

        Raises what of ``gives_up`` came of it, such as ``Undeliverable`` for a reply that the broker answers by
        closing the connection (541), after that was seen with nothing else in flight.
        """
        backoff, is_logged, alone = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S), False, False
        try:
            # Asked again after the wait for the link: meanwhile the delivery may have come again.
            while wanted() and await self._open_publisher(calm=False) and wanted():
                problem, posted = None, problem
                end = posted or await self._attempt(message, alone=alone)
                if isinstance(end, ConfirmLost) and end.code == _INTERNAL_ERROR and message.exchange == "":
                    end = await self._send_in_calm(message)
                if end is None:
                    return True
                if isinstance(end, gives_up):
                    raise end
                if isinstance(end, ConfirmLost):
                    # The link comes back by itself; the next attempt waits for that and for nothing else. It is
                    # made alone if this message, or one that was in flight beside it, was refused.
                    alone = end.code in REFUSALS
                    continue
                if not is_logged:
                    is_logged = True
                    self._refused[message.exchange] += 1
                    # One line for all that wait for the same: it is the exchange that somebody has to look at.
                    if self._refused[message.exchange] == 1:
                        log.warning("not accepted, the delivery stays unacked: %s", end)
                await asyncio.sleep(backoff.next_s())
            return False
        finally:
            if is_logged:
                self._refused[message.exchange] -= 1
                if not self._refused[message.exchange]:
                    log.warning("no longer waiting for exchange '%s' to take messages", message.exchange)

    async def _attempt(self, message: Message, *, alone: bool, calm: bool = False) -> PublishError | None:
        """Why the message was not accepted this time, or None if it was."""
        await self._open_publisher(calm)
        ended: asyncio.Future[PublishError | None] = asyncio.get_running_loop().create_future()
        self._send(message, partial(resolve, ended), alone=alone)
        if _after_publish:
            _after_publish(1)
        return await ended

    async def _open_publisher(self, calm: bool) -> CarefulPublisher:
        """Wait for the link, and for calm; or, for what is to be sent in calm, until nothing else is in flight."""
        while True:
            if self._publisher is None or not self._publisher.is_open:
                self._opened.clear()
                await self._opened.wait()
            elif calm and self._publisher.unconfirmed:
                await asyncio.sleep(QUIET_S)
            elif not calm and not self._calm.is_set():
                await self._calm.wait()
            else:
                return self._publisher

    async def _send_in_calm(self, message: Message) -> PublishError | None:
        """Send a suspect with nothing else in flight, so that no other message can be the one to blame."""
        self._suspects += 1
        self._calm.clear()
        try:
            async with self._alone:
                while True:
                    end = await self._attempt(message, alone=True, calm=True)
                    if not isinstance(end, ConfirmLost):
                        return end
                    if end.code == _INTERNAL_ERROR:
                        return Undeliverable(
                            "the broker closes the connection over this reply address; the reply was dropped"
                        )
        finally:
            self._suspects -= 1
            # Not between two suspects: what waits for calm may be guilty itself, and would be in flight.
            if not self._suspects:
                self._calm.set()
