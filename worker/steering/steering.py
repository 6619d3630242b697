"""A worker's part of the control stream: it reads all of it before it takes tasks, and goes on reading.

On a connection of its own: whatever the stream does, or the broker to who reads it, costs no delivery and no
publish. A worker that cannot read it works all the same, says that it is not steered, and goes on trying.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random

from broker.amqp.connection import Connection
from broker.amqp.link import Link, LinkSettings
from broker.amqp.publisher import Message, Publisher
from broker.config.control_settings import ControlSettings
from broker.console.escaping import plain
from broker.control.stream import Entry, follow, marker, now_ms, state_of, write
from broker.errors import AccessRefused, BrokerError, MayNotPublish, TopologyDrift
from broker.topology.declare import declare
from broker.topology.model import control_of
from protocol.codec import NotEncodable
from protocol.control import Answer, End, Inspect, Order, Watch, pack_answer
from protocol.properties import Properties
from protocol.reply_address import ReplyKind, reply_kind
from protocol.watching import Event, pack_event
from worker.steering.steered import Steered

log = logging.getLogger("glassrabbit.worker")

#: How long a worker waits for a silent stream before it works without it.
SILENT_S = 5.0
#: … and how often, as long as something comes.
_MOST_WAITS = 12
#: The part of the retention after which a worker looks again for what has to be written again.
_LOOKS = 1 / 20
#: To who watches, not confirmed.
MOST_REPORTS = 1000
#: The first worker that writes a record again spares all others that, if they are a little later.
_SPREAD_S = 0.5
#: Between two looks at what became of tasks that somebody asked about, and how many may ask at a time.
_ENDS_S = 0.2
_MOST_ASKED = 50


class Steering:
    """Life: ``run`` as a task → ``first_read`` → ``stop``."""

    def __init__(self, link: LinkSettings, settings: ControlSettings, name: str, steered: Steered) -> None:
        self.link = Link(link, f"{name} control", self._set_up)
        self._settings = settings
        self._steered = steered
        self.state = state_of(settings)
        self._offset: int | None = None
        self._is_catching_up = True
        self._publisher: Publisher | None = None
        self._may_renew = True
        self._read = asyncio.Event()
        self._grown = asyncio.Event()
        self._looked_at_bytes = 0
        #: Orders to this worker that it knows, by their ids: the stream may be read once more.
        self._orders: set[str] = set()
        self._reports: set[asyncio.Task[None]] = set()

    @property
    def problem(self) -> str | None:
        """Why this worker is not steered, or None if it is."""
        return (
            None if self.link.is_open else f"not steered: {self.link.last_error or 'the stream is not read yet'}"
        )

    @property
    def unready(self) -> str | None:
        """Why a worker that works is not ready."""
        if by := self._steered.drained_by:
            return f"drained by {plain(by)}, until `resume {self._steered.identity}`"
        return self.problem if self._settings.required else None

    async def run(self) -> None:
        """Read, and write again what still holds, until ``stop``."""
        renewing = asyncio.create_task(self._renew())
        try:
            await self.link.run()
        finally:
            renewing.cancel()

    async def first_read(self, stopping: asyncio.Task[bool]) -> None:
        """Return once the stream was read; or if it is silent for 5 s, or not read in a minute, unless it is
        required; or once ``stopping`` is done."""
        reading = asyncio.create_task(self._read.wait())
        within_s = None if self._settings.required else SILENT_S
        for _ in range(_MOST_WAITS):
            before = self.state.bytes
            await asyncio.wait({reading, stopping}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            if reading.done() or stopping.done() or before == self.state.bytes:
                break
        reading.cancel()
        if not (self._read.is_set() or stopping.done()):
            log.warning("%s; taking tasks without", self.problem)

    async def stop(self, timeout_s: float) -> None:
        """Say goodbye, if that is possible, and end."""
        for report in self._reports:
            report.cancel()
        if self._publisher is not None and self.link.is_open:
            gone = marker(self._steered.identity, gone=1)
            with contextlib.suppress(BrokerError):
                await write(self._publisher, gone, within_s=timeout_s / 2)
        await self.link.stop(timeout_s)

    async def _set_up(self, connection: Connection) -> None:
        self._is_catching_up = True
        if self.link.generation == 0:
            with contextlib.suppress(AccessRefused, TopologyDrift):
                await declare(connection, control_of(self._settings))
        after, self._offset = self._offset, None
        # A stream that was deleted and made again begins at 0 again: then the next try reads it from there.
        self._publisher = await follow(
            connection, self._steered.identity, self.state, self._on_entry, after=after, within_s=SILENT_S
        )
        self._is_catching_up = False
        self._steered.obey(self.state)
        self._read.set()

    def _on_entry(self, entry: Entry) -> None:
        self._offset = entry.offset
        record, reply_to = entry.record, entry.reply_to
        if not self._is_catching_up:
            self._steered.obey(self.state, record)
        match record:
            case Inspect() if record.until <= now_ms():
                pass
            case Inspect(ids=()) if not self._is_catching_up:
                self._send(record.id, reply_to, self._steered.answer())
            case Inspect() if record.ids:
                self._report(record, reply_to)
            case Order(worker=self._steered.identity):
                self._take(record, reply_to)
            case Watch() if reply_kind(reply_to) is ReplyKind.DIRECT:
                self._steered.watch(record, str(reply_to), self.state, self._tell)
            case _:
                pass
        if (
            self.state.is_urgent
            or self.state.bytes - self._looked_at_bytes > self._settings.retention_bytes * _LOOKS
        ):
            self._grown.set()

    def _take(self, order: Order, reply_to: str | None) -> None:
        """What was said before this worker was there, it said to another one of its name."""
        if order.id not in self._orders and self._read.is_set():
            self._steered.take(order, self.state)
            self._send(order.id, reply_to, self._steered.answer())
        self._orders.add(order.id)

    def _report(self, asked: Inspect, reply_to: str | None) -> None:
        if len(self._reports) < _MOST_ASKED:
            report = asyncio.create_task(self._report_ends(asked, reply_to))
            self._reports.add(report)
            report.add_done_callback(self._reports.discard)

    async def _report_ends(self, asked: Inspect, reply_to: str | None) -> None:
        told: dict[str, End] = {}
        while asked.until > now_ms():
            answer = self._steered.ends_of({task for task in asked.ids if told.get(task) in (None, End.UNACKED)})
            if self.link.is_open and answer.ends.items() - told.items():
                self._send(asked.id, reply_to, answer)
                told |= answer.ends
            await asyncio.sleep(_ENDS_S)

    def _send(self, asked: str, reply_to: str | None, answer: Answer) -> None:
        if reply_kind(reply_to) is ReplyKind.DIRECT:
            self._publish("running", asked, str(reply_to), pack_answer(answer))

    def _tell(self, record: Watch, reply_to: str, event: Event) -> None:
        """Beyond a bound, and while there is no connection, it is dropped; its number says so later."""
        if self._publisher is not None and self._publisher.unconfirmed < MOST_REPORTS:
            with contextlib.suppress(NotEncodable):
                self._publish("event", record.id, reply_to, pack_event(event))

    def _publish(self, kind: str, asked: str, reply_to: str, body: bytes) -> None:
        properties = Properties(type=kind, correlation_id=asked)
        message = Message(exchange="", routing_key=reply_to, body=body, properties=properties, mandatory=False)
        if self._publisher is not None:
            self._publisher.send(message, lambda _end: None)

    async def _renew(self) -> None:
        await self._read.wait()
        look_s = self._settings.retention_s * _LOOKS
        while self._may_renew:
            await asyncio.sleep(random.uniform(0, min(look_s, _SPREAD_S)))
            self._looked_at_bytes = self.state.bytes
            self._grown.clear()
            if self.link.is_open and self._publisher is not None:
                await self._write_again(self._publisher)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._grown.wait(), look_s)

    async def _write_again(self, publisher: Publisher) -> None:
        try:
            for record in self.state.due(now_ms()):
                await write(publisher, record)
        except MayNotPublish as error:
            # Who gave the rights wants it so.
            self._may_renew = False
            log.warning("what holds by the control stream is not written again by this worker: %s", error)
        except BrokerError as error:
            self.link.fail(error)
