"""One AMQP connection as an awaitable thing over pika's callbacks.

A connection is opened once, ends once, and is then of no further use: ``closed`` holds the reason. What makes
a new one is ``broker.amqp.link``.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import pika
from pika import exceptions as pika_errors
from pika.adapters.utils.connection_workflow import AMQPConnectorWrongState

from broker.amqp.answers import CLOSE_S, answer, left_s, resolve
from broker.amqp.channel import Channel
from broker.amqp.pika_connection import PikaConnection
from broker.amqp.pika_errors import connect_error, lost_error, mapped, silent
from broker.amqp.traffic import Traffic
from broker.config.endpoint import Endpoint
from broker.config.tls import TlsSettings, tls_context
from broker.errors import BrokerError, ConnectionLost

#: As near to the start of this process as can be had without its system's help.
_STARTED_S = int(time.time())
#: For pika to close the socket of an attempt that was given up: a turn or two of the loop.
ABANDON_S = 1.0


class Connection:
    """An open connection. ``closed`` is done, with the reason, once it has ended for whatever cause."""

    def __init__(self, wire: PikaConnection, where: str) -> None:
        self._wire = wire
        self.where = where
        #: Where its publishers count.
        self.traffic = Traffic()
        #: The open ones.
        self._channels: set[Channel] = set()
        #: When answers on it have to be there, by the clock ``time.monotonic``; of channels that are opened later.
        self.deadline_s = math.inf
        self.closed: asyncio.Future[BrokerError] = asyncio.get_running_loop().create_future()
        wire.add_on_close_callback(lambda _wire, error: self._on_closed(error))

    @property
    def server_version(self) -> str:
        properties = self._wire.server_properties or {}
        return str(properties.get("version", "unknown"))

    @property
    def cluster_name(self) -> str:
        """What the broker calls itself; the name of a cluster's first node, unless somebody changed it."""
        return str((self._wire.server_properties or {}).get("cluster_name", ""))

    @property
    def is_open(self) -> bool:
        return not self.closed.done()

    def on_blocked(self, callback: Callable[[bool], None]) -> None:
        """Call back with True when the broker stops reading what we publish, and False when it reads again.

        The broker says so at the first publish after an alarm (https://www.rabbitmq.com/docs/connection-blocked).
        """
        self._wire.add_on_connection_blocked_callback(lambda _connection, _frame: callback(True))
        self._wire.add_on_connection_unblocked_callback(lambda _connection, _frame: callback(False))

    async def channel(self) -> Channel:
        """Open a channel; raises ``ConnectionLost`` if the connection ends meanwhile, or does not answer."""
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        with mapped("the connection"):
            self._wire.channel(on_open_callback=lambda channel: resolve(opened, channel))
        channel = Channel(await answer(opened, self.closed, self.deadline_s), self.deadline_s)
        self._channels.add(channel)
        channel.closed.add_done_callback(lambda _closed: self._channels.discard(channel))
        return channel

    def fail(self, reason: BrokerError) -> None:
        """End the connection for a reason of ours. Idempotent; everything unacked goes back to its queue."""
        if self.closed.done():
            return
        self._end(reason)
        with contextlib.suppress(pika_errors.ConnectionWrongStateError):
            self._wire.close()

    async def close(self, timeout_s: float = CLOSE_S) -> None:
        """Close politely and wait for the broker's answer, at most ``timeout_s`` and not beyond the deadline; then
        drop the socket."""
        ended = asyncio.Event()
        if self._wire.is_closed:
            return
        self._wire.add_on_close_callback(lambda _connection, _reason: ended.set())
        self.fail(ConnectionLost("closed by us"))
        try:
            await asyncio.wait_for(ended.wait(), left_s(self.deadline_s, timeout_s))
        except TimeoutError:
            self._wire.drop()
            await ended.wait()

    def _on_closed(self, error: BaseException) -> None:
        self._end(lost_error(error, f"the connection to {self.where}"))

    def _end(self, reason: BrokerError) -> None:
        """A silent network may keep pika waiting for an answer; nobody else has to wait with it."""
        resolve(self.closed, reason)
        for channel in self._channels:
            channel.end(ConnectionLost(str(reason), getattr(reason, "code", 0)))


async def connect(
    endpoint: Endpoint,
    *,
    name: str,
    heartbeat_s: int,
    timeout_s: float,
    tls: ssl.SSLContext | None = None,
    properties: Mapping[str, object] = MappingProxyType({}),
) -> Connection:
    """Open a connection within ``timeout_s``; ``name`` and ``properties`` are what the management pages show.

    An ``amqps`` endpoint is never spoken to in plain: without ``tls`` the system's authorities have to trust it.
    Raises ``Unreachable``, ``Untrusted`` or ``AccessRefused``, whose texts never hold the password.
    """
    loop = asyncio.get_running_loop()
    ssl_options = None
    if endpoint.scheme == "amqps":
        ssl_options = pika.SSLOptions(tls or tls_context(TlsSettings()), endpoint.host)
    parameters = pika.ConnectionParameters(
        host=endpoint.host,
        port=endpoint.port,
        virtual_host=endpoint.vhost,
        credentials=pika.PlainCredentials(endpoint.username, endpoint.password),
        heartbeat=heartbeat_s,
        connection_attempts=1,
        socket_timeout=timeout_s,
        stack_timeout=timeout_s,
        ssl_options=ssl_options,
        client_properties={
            **properties,
            "connection_name": name,
            "product": "glassrabbit",
            "started": _STARTED_S,
        },
    )
    opened: asyncio.Future[Connection] = loop.create_future()
    ended = asyncio.Event()

    def on_done(result: Any) -> None:
        ended.set()
        if isinstance(result, BaseException):
            if not opened.done():
                opened.set_exception(connect_error(result, endpoint.redacted))
            return
        connection = Connection(result, endpoint.redacted)
        if opened.done():
            connection.fail(ConnectionLost("nobody waits for it any more"))
            result.drop()
        resolve(opened, connection)

    attempt = PikaConnection.create_connection([parameters], on_done, custom_ioloop=loop)
    try:
        # pika bounds the attempt by itself; this bound is for what it does not count (a slow resolver).
        return await asyncio.wait_for(opened, timeout_s + 2)
    except (TimeoutError, asyncio.CancelledError) as error:
        _abandon(attempt)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), ABANDON_S)
        if isinstance(error, asyncio.CancelledError):
            raise
        raise silent(endpoint.redacted) from error


def _abandon(attempt: Any) -> None:
    """End an attempt to connect. pika's own ``abort`` fails during the AMQP handshake (an assertion of 1.4), and
    would leave the socket open."""
    wire = getattr(attempt._connector, "_amqp_conn", None)
    with contextlib.suppress(pika_errors.AMQPError, AMQPConnectorWrongState):
        (attempt.abort if wire is None else wire.close)()
