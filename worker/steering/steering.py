"""A worker's part of the control stream: it reads all of it before it takes tasks, and goes on reading.

On a connection of its own: whatever the stream does, or the broker to who reads it, costs no delivery and no
publish. A worker that cannot read it works all the same, says that it is not steered, and goes on trying.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

from broker.amqp.connection import Connection
from broker.amqp.link import Link, LinkSettings
from broker.amqp.publisher import Publisher
from broker.config.control_settings import ControlSettings
from broker.control.state import State
from broker.control.stream import Entry, follow, now_ms, state_of, write
from broker.errors import AccessRefused, BrokerError, MayNotPublish, TopologyDrift
from broker.topology.declare import declare
from broker.topology.model import control_of

log = logging.getLogger("glassrabbit.worker")

#: A stream that is silent for so long stops nobody.
SILENT_S = 5.0
#: Of the retention: how often it is looked what has to be written again.
_LOOKS = 1 / 20
#: The first worker that writes a record again spares all others that, if they are a little later.
_SPREAD_S = 0.5


class Steering:
    """Life: ``run`` as a task → ``first_read`` → ``stop``."""

    def __init__(
        self,
        link: LinkSettings,
        settings: ControlSettings,
        name: str,
        identity: str,
        on_state: Callable[[State], None],
    ) -> None:
        """``on_state`` is called when all is read that was there, and from then on with each record."""
        self.link = Link(link, f"{name} control", self._set_up)
        self._settings = settings
        self._identity = identity
        self._on_state = on_state
        self.state = state_of(settings)
        self._offset: int | None = None
        self._is_catching_up = True
        self._publisher: Publisher | None = None
        self._may_renew = True
        self._read = asyncio.Event()
        self._grown = asyncio.Event()
        self._looked_at_bytes = 0

    @property
    def problem(self) -> str | None:
        """Why this worker is not steered, or None if it is."""
        return (
            None if self.link.is_open else f"not steered: {self.link.last_error or 'the stream is not read yet'}"
        )

    async def run(self) -> None:
        """Read, and write again what still holds, until ``stop``."""
        renewing = asyncio.create_task(self._renew())
        try:
            await self.link.run()
        finally:
            renewing.cancel()

    async def first_read(self, stopping: asyncio.Task[bool]) -> None:
        """Return once the stream was read; or after 5 s, unless it is required; or once ``stopping`` is done."""
        reading = asyncio.create_task(self._read.wait())
        within_s = None if self._settings.required else SILENT_S
        await asyncio.wait({reading, stopping}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        reading.cancel()
        if not (self._read.is_set() or stopping.done()):
            log.warning("%s; taking tasks without", self.problem)

    async def stop(self, timeout_s: float) -> None:
        await self.link.stop(timeout_s)

    async def _set_up(self, connection: Connection) -> None:
        self._is_catching_up = True
        if self.link.generation == 0:
            with contextlib.suppress(AccessRefused, TopologyDrift):
                await declare(connection, control_of(self._settings))
        after, self._offset = self._offset, None
        # A stream that was deleted and made again begins at 0 again: then the next try reads it from there.
        self._publisher = await follow(connection, self._identity, self._on_entry, after=after, within_s=SILENT_S)
        self._is_catching_up = False
        self._on_state(self.state)
        self._read.set()

    def _on_entry(self, entry: Entry) -> None:
        self._offset = entry.offset
        self.state.fold(entry.record, entry.size)
        if not self._is_catching_up:
            self._on_state(self.state)
        if (
            self.state.is_urgent
            or self.state.bytes - self._looked_at_bytes > self._settings.retention_bytes * _LOOKS
        ):
            self._grown.set()

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
