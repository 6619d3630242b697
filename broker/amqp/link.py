"""A link keeps one connection to the broker up for as long as it runs. It obeys ``broker.amqp.link_state``.

A generation of a link: connect to one of the endpoints (shuffled), let the owner set up its channels and
consumers, be open, end. Whatever ends it, the next generation starts from nothing: delivery tags, confirms and
direct reply addresses of the old one are void.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from broker.amqp.answers import CLOSE_S, resolve
from broker.amqp.connection import Connection, connect
from broker.amqp.link_state import Event, State, after
from broker.amqp.pika_errors import silent
from broker.amqp.traffic import Traffic
from broker.backoff import Backoff
from broker.config.endpoint import Endpoint
from broker.config.settings import Settings
from broker.config.tls import tls_context
from broker.errors import AccessRefused, BrokerError, TimedOut, TopologyDrift

log = logging.getLogger("glassrabbit.broker")

#: Seconds between attempts to connect: random below 0.25, 0.5, 1 …, capped.
FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 5.0
#: A generation that lived for less was no success: what ended it may end the next one as well, so the wait before
#: it doubles.
STEADY_S = 5.0
#: What waiting does not mend, for a caller that has a person behind it.
_FINAL = (AccessRefused, TopologyDrift)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """Where to connect, and the bounds of it."""

    endpoints: tuple[Endpoint, ...]
    heartbeat_s: int = 30
    connect_timeout_s: float = 5.0
    #: For the endpoints that are ``amqps``.
    tls: ssl.SSLContext | None = None
    #: What else the broker is to list of these connections.
    properties: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> LinkSettings:
        """Raises ``ConfigError`` if a file of ``broker.tls`` is needed and cannot be used."""
        broker = settings.broker
        return cls(
            endpoints=broker.endpoints,
            heartbeat_s=broker.heartbeat_s,
            connect_timeout_s=broker.connect_timeout_s,
            tls=tls_context(broker.tls) if any(one.scheme == "amqps" for one in broker.endpoints) else None,
        )


def between_attempts() -> Backoff:
    """The waits between attempts to connect."""
    return Backoff(FIRST_WAIT_S, LONGEST_WAIT_S, spread=True)


class Link:
    """Life: ``run`` as a task → ``setup`` once a generation → ``stop``. ``state`` says where it stands."""

    def __init__(
        self,
        settings: LinkSettings,
        name: str,
        setup: Callable[[Connection], Awaitable[None]],
        *,
        logs_first: bool = True,
        quick_after: int | None = None,
    ) -> None:
        """``setup`` makes channels and consumers; raising ``BrokerError`` from it starts the next attempt.

        ``logs_first`` False: until the link was open once its owner reports failures, not the log.
        ``quick_after``: the wait does not grow after a connection that ended with this AMQP reply code.
        """
        self._settings = settings
        self._name = name
        self._setup = setup
        self._logs_first = logs_first
        self._quick_after = quick_after
        self._hosts = itertools.cycle(random.sample(settings.endpoints, len(settings.endpoints)))
        self._stopping = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._connection: Connection | None = None
        #: Kinds of reasons that were logged for the present incident: a lost connection is logged with what keeps
        #: the next one from being made, and again only when that changes its kind.
        self._logged: set[type[BrokerError]] = set()
        self._lost: BrokerError | None = None
        #: Before the next generation.
        self._backoff = between_attempts()
        self.state = State.IDLE
        #: What the broker that it was connected to last calls itself.
        self.cluster_name = ""
        #: Generations that were open so far; the current one while open.
        self.generation = 0
        self.last_error: BrokerError | None = None
        #: What was published, over all generations.
        self.traffic = Traffic()

    @property
    def is_open(self) -> bool:
        return self.state in (State.OPEN, State.BLOCKED)

    async def run(self) -> None:
        """Keep the link up until ``stop``. Raises ``TopologyDrift`` from ``setup``, which time does not mend, and
        nothing else of what the broker or the network does."""
        self._move(Event.START)
        while not self._stopping.is_set():
            connection = await self._open()
            if connection is None:
                break
            if self._stopping.is_set():
                await connection.close()
            opened_s = time.monotonic()
            self.last_error = await connection.closed
            if time.monotonic() - opened_s >= STEADY_S or getattr(self.last_error, "code", 0) == self._quick_after:
                self._backoff.reset()
            if self._stopping.is_set():
                break
            self._lost = self.last_error
            self._move(Event.LOST)
            await self._pause(self._backoff.next_s())
            if not self._stopping.is_set():
                self._move(Event.RETRY)
        self._move(Event.STOP)

    async def wait_open(self, timeout_s: float) -> None:
        """Return once the link is open. Raises what keeps it from opening: a refused login or a different topology
        at once, anything else if it lasts longer than ``timeout_s``."""

        try:
            async with asyncio.timeout(timeout_s):
                while not (self.is_open or self._stopping.is_set() or isinstance(self.last_error, _FINAL)):
                    changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiting.append(changed)
                    await changed
        except TimeoutError as error:
            if self.last_error is None and self.state is State.SETTING_UP:
                raise TimedOut("the broker takes connections and did not answer in time") from error
            raise self.last_error or silent(", ".join(one.redacted for one in self._settings.endpoints)) from error
        if isinstance(self.last_error, _FINAL):
            raise self.last_error

    def fail(self, reason: BrokerError) -> None:
        """End this generation for a reason of ours (a cancelled consumer, a closed channel)."""
        if self._connection is not None:
            self._connection.fail(reason)

    async def stop(self, timeout_s: float = CLOSE_S) -> None:
        """Close the connection and end ``run``. May be called at any time, and again."""
        self._stopping.set()
        if self._connection is not None:
            await self._connection.close(timeout_s)
        self._wake_waiting()

    async def _open(self) -> Connection | None:
        """The next open generation; None if the link was stopped before there was one."""
        backoff = between_attempts()
        for number in itertools.count(1):
            if self._stopping.is_set():
                break
            try:
                return await self._attempt()
            except TopologyDrift:
                if not self._stopping.is_set():
                    raise
            except BrokerError:
                # The pause comes after all hosts were tried.
                if number % len(self._settings.endpoints) == 0:
                    await self._pause(backoff.next_s())
        return None

    async def _attempt(self) -> Connection:
        if self.state is State.WAITING:
            self._move(Event.RETRY)
        settings = self._settings
        try:
            connection = await connect(
                next(self._hosts),
                name=self._name,
                heartbeat_s=settings.heartbeat_s,
                timeout_s=settings.connect_timeout_s,
                tls=settings.tls,
                properties=settings.properties,
            )
        except BrokerError as error:
            self._failed(error, Event.FAILED)
            raise
        self._move(Event.CONNECTED)
        self._connection = connection
        self.cluster_name = connection.cluster_name
        connection.traffic = self.traffic
        connection.on_blocked(self._on_blocked)
        try:
            await self._setup(connection)
        except BrokerError as error:
            connection.fail(error)
            self._failed(error, Event.LOST)
            raise
        self.generation += 1
        if self._lost is not None:
            self._log_down(self._lost)
        if self.last_error is not None and (self._logs_first or self.generation > 1):
            log.warning("%s link up again at %s", self._name, connection.where)
        self.last_error = None
        self._logged.clear()
        self._move(Event.READY)
        return connection

    def _log_down(self, error: BrokerError) -> None:
        if type(error) in self._logged or not (self._logs_first or self.generation):
            return
        self._logged.add(type(error))
        before = f" (before that: {self._lost})" if self._lost not in (None, error) else ""
        log.warning("%s link down, trying again until it is back: %s%s", self._name, error, before)
        self._lost = None

    def _failed(self, error: BrokerError, event: Event) -> None:
        self._log_down(error)
        self.last_error = error
        self._move(event)

    def _on_blocked(self, blocked: bool) -> None:
        if blocked is (self.state is State.BLOCKED) or not self.is_open:
            return
        self._move(Event.BLOCKED if blocked else Event.UNBLOCKED)
        if blocked:
            log.warning("%s link blocked: the broker is short of memory or disk, publishes wait", self._name)
        else:
            log.warning("%s link unblocked", self._name)

    def _move(self, event: Event) -> None:
        self.state = after(self.state, event)
        self.traffic.note_blocked(self.state is State.BLOCKED, time.monotonic())
        self._wake_waiting()

    def _wake_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for changed in waiting:
            resolve(changed, None)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return
