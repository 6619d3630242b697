"""The way of all clients of a virtual host to their broker: a proxy that knows what is unacked, and can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Self, TypeVar

from broker.amqp.connection import Connection, connect
from broker.config.endpoint import Endpoint
from broker.wire.proxy import Proxy
from glassrabbit_testing.traffic import Traffic

T = TypeVar("T")

_WITHIN_S = 30.0


class Link:
    """``with Link(endpoint, tls) as link``: connections to ``link.port`` of loopback reach the broker."""

    def __init__(self, endpoint: Endpoint, tls: ssl.SSLContext | None = None) -> None:
        self.traffic = Traffic()
        self.port = 0
        self._endpoint, self._tls = endpoint, tls
        self._proxy: _Tapped | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rabbit link", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WITHIN_S)
        self._loop.close()

    def cut(self) -> None:
        """End all connections."""
        if self._proxy is not None:
            self.run(self._proxy.cut())

    def up(self) -> None:
        """Accept connections, at the same port as before."""
        self.run(self._up())

    def down(self) -> None:
        """End all connections, and refuse new ones until ``up``."""
        self.run(self._down())

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        """A connection of our own that does not pass the proxy."""
        connection = await connect(
            self._endpoint, name="glassrabbit_testing", heartbeat_s=0, timeout_s=_WITHIN_S, tls=self._tls
        )
        try:
            yield connection
        finally:
            await connection.close()

    def run(self, coroutine: Coroutine[Any, Any, T], within_s: float = 0.0) -> T:
        """What a coroutine on the link's own loop comes to, which is meant to take up to ``within_s``."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(within_s + _WITHIN_S)

    async def _up(self) -> None:
        if self._proxy is None:
            self._proxy = _Tapped(self._endpoint, self._tls, self.traffic, self.port)
            await self._proxy.__aenter__()
            self.port = self._proxy.port

    async def _down(self) -> None:
        proxy, self._proxy = self._proxy, None
        if proxy is not None:
            await proxy.__aexit__()


class _Tapped(Proxy):
    """Notes what passes, and that a connection has ended."""

    def __init__(self, endpoint: Endpoint, tls: ssl.SSLContext | None, traffic: Traffic, port: int) -> None:
        super().__init__(endpoint, tls, traffic.note, on_problem=lambda _text: None, port=port)
        self._traffic = traffic

    async def cut(self) -> None:
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass_on(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await super()._pass_on(number, reader, writer)
        finally:
            self._traffic.ended(number)
