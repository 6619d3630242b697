"""A recording proxy in front of a broker: passes bytes on as they are, and hands over the frames that they are.

It listens on loopback alone and without TLS; towards the broker it speaks TLS where the endpoint is ``amqps``.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import Callable

from broker.config.endpoint import Endpoint
from broker.wire.frames import Frame, Reader

_LOOPBACK = "127.0.0.1"
_READ_BYTES = 1 << 16
_CONNECT_S = 5.0

#: A frame, the number of its connection, and whether the client sent it.
OnFrame = Callable[[Frame, int, bool], None]


class Proxy:
    """``async with Proxy(endpoint, tls, on_frame) as proxy``: connections to ``proxy.port`` are passed on."""

    def __init__(
        self,
        endpoint: Endpoint,
        tls: ssl.SSLContext | None,
        on_frame: OnFrame,
        *,
        on_problem: Callable[[str], None],
        port: int = 0,
    ) -> None:
        """``tls``: for an ``amqps`` endpoint. ``on_problem`` gets why a connection could not be passed on.
        ``port``: to listen on (0: any that is free)."""
        self._endpoint = endpoint
        self._tls = tls if endpoint.scheme == "amqps" else None
        self._on_frame = on_frame
        self._on_problem = on_problem
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = port

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, _LOOPBACK, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass_on(next(self._numbers), reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        endpoint = self._endpoint
        try:
            async with asyncio.timeout(_CONNECT_S):
                name = endpoint.host if self._tls else None
                theirs, ours = await asyncio.open_connection(
                    endpoint.host, endpoint.port, ssl=self._tls, server_hostname=name
                )
        except (OSError, TimeoutError) as error:
            self._on_problem(f"{endpoint} cannot be reached ({type(error).__name__}: {error})")
            writer.close()
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pump(number, reader, ours, by_client=True))
            group.create_task(self._pump(number, theirs, writer, by_client=False))

    async def _pump(
        self, number: int, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, by_client: bool
    ) -> None:
        """Until either side ends. Bytes are passed on before they are read as frames."""
        frames = Reader(by_client=by_client)
        try:
            with contextlib.suppress(OSError):
                while data := await source.read(_READ_BYTES):
                    target.write(data)
                    for frame in frames.feed(data):
                        self._on_frame(frame, number, by_client)
                    await target.drain()
        finally:
            target.close()
