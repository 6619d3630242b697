"""asyncio's own transports under pika.

pika brings transports of its own, which ask the selector before each write and end each read with an exception.
asyncio's write at once and read until the socket is empty. pika takes any implementation of its
``nbio_interface.AbstractIOServices``; what is replaced here is how a connected socket becomes a stream
(https://pika.readthedocs.io/en/stable/modules/adapters/index.html).
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import weakref
from collections.abc import Callable
from typing import Any

from pika.adapters.asyncio_connection import _AsyncioIOServicesAdapter
from pika.adapters.utils import nbio_interface
from pika.exceptions import AMQPError

#: Those of this process that are in use.
_SOCKETS: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _close_copies() -> None:
    """A fork can neither write nor read on its parent's connections, and does not keep them open."""
    for sock in list(_SOCKETS):
        sock.close()


os.register_at_fork(after_in_child=_close_copies)


class Services(_AsyncioIOServicesAdapter):
    """What pika asks of an event loop."""

    def create_streaming_connection(
        self,
        protocol_factory: Callable[[], Any],
        sock: socket.socket,
        on_done: Callable[[Any], None],
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> Any:
        """Make a stream of a connected socket, which belongs to it from now on."""
        loop: asyncio.AbstractEventLoop = self.get_native_ioloop()
        _SOCKETS.add(sock)

        async def connect() -> None:
            try:
                _, stream = await loop.create_connection(
                    lambda: Stream(protocol_factory()),
                    sock=sock,
                    ssl=ssl_context,
                    server_hostname=server_hostname if ssl_context is not None else None,
                )
            except OSError as error:
                sock.close()
                on_done(error)
            except asyncio.CancelledError:
                sock.close()
                raise
            else:
                on_done((stream, stream.hand_over()) if stream.lost is None else stream.lost)

        return _Reference(loop.create_task(connect()))


class Stream(nbio_interface.AbstractStreamTransport, asyncio.Protocol):
    """To asyncio a protocol, to pika a transport."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._transport: Any = None
        self._error: BaseException | None = None
        #: Why it ended before pika had it: pika hears of no end before that, and would wait for one.
        self.lost: BaseException | None = None
        self._is_pikas = False

    def hand_over(self) -> Any:
        self._is_pikas = True
        return self._protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._protocol.connection_made(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._protocol.data_received(data)
        except AMQPError as error:
            # Bytes that make no sense, or a broker that breaks the protocol: this connection has to go.
            self._error = error
            self._transport.abort()

    def eof_received(self) -> bool:
        return bool(self._protocol.eof_received())

    def connection_lost(self, error: BaseException | None) -> None:
        if self._is_pikas:
            self._protocol.connection_lost(self._error or error)
        else:
            self.lost = error or ConnectionResetError("ended at once")

    def abort(self) -> None:
        self._transport.abort()

    def get_protocol(self) -> Any:
        return self._protocol

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def get_write_buffer_size(self) -> int:
        return int(self._transport.get_write_buffer_size())


class _Reference(nbio_interface.AbstractIOReference):
    """What pika cancels a stream by that is not there yet."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def cancel(self) -> bool:
        return self._task.cancel()
