"""One proxied connection: two directions, each of them as good or bad as its ``Way``."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.support.frames import By, Decoder, Event

_CHUNK = 65536
#: What a direction holds before it stops taking, as a socket's buffer would.
_HELD_BYTES = 1 << 20
#: A dear network passes so many pieces a second.
_PIECES_PER_S = 20
_RESET = struct.pack("ii", 1, 0)

_End = Literal["closed", "reset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What the network does to one direction. The default: nothing."""

    #: Everything arrives so much later, give or take the jitter; order is kept.
    latency_s: float = 0.0
    jitter_s: float = 0.0
    #: 0: as fast as it can.
    bytes_per_s: int = 0
    #: Each byte in a packet of its own.
    one_byte: bool = False
    #: Nothing arrives: it is held, and arrives once this is over, as TCP would send it again.
    silent: bool = False
    #: The connection is reset so long after this began (None: never).
    reset_after_s: float | None = None
    #: The connection is reset once so many bytes passed in this direction since it was opened (None: never).
    limit_bytes: int | None = None
    #: The end of the connection arrives so much later.
    slow_close_s: float = 0.0


CLEAR = Way()
SILENT = Way(silent=True)


class Link:
    """A connection. Its methods are for the proxy's own thread; what it tells may be read from any."""

    def __init__(
        self,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        note: Callable[[Event, Link], None],
        chance: random.Random,
    ) -> None:
        self.number = number
        #: As the client calls it (``connection_name``), once it has said so.
        self.name = ""
        #: False once either side has ended it, as far as the client can tell.
        self.is_open = True
        #: False once nothing can pass any more.
        self.is_alive = True
        self._note = note
        self._client = (reader, writer)
        self._writers = [writer]
        self.to_broker = _Direction(self, "client", chance)
        self.to_client = _Direction(self, "broker", chance)
        self._report(Event(kind="accept", by="proxy", at=time.monotonic(), connection=number))

    async def pass_on(self, host: str, port: int) -> None:
        """Connect to the broker and pass on whatever comes, until both have ended."""
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError:
            self.reset()
            return
        self._writers.append(writer)
        if not self.is_alive:
            # Reset while it was being connected: nobody else knows of this side.
            abort(writer)
            return
        try:
            await asyncio.gather(
                self.to_broker.take(self._client[0]),
                self.to_broker.give(writer),
                self.to_client.take(reader),
                self.to_client.give(self._client[1]),
            )
        finally:
            self.reset()

    async def hang(self) -> None:
        """Take what comes and do nothing."""
        await self.to_broker.take(self._client[0])

    def reset(self) -> None:
        """RST to both sides; what was held is lost. Harmless on one that has ended."""
        if not self.is_alive:
            return
        self.is_alive = False
        self.end("proxy")
        for writer in self._writers:
            abort(writer)
        self.to_broker.wake()
        self.to_client.wake()

    def say(self, frame: bytes) -> None:
        """Give the client a frame as if the broker had sent it, behind all that it did send."""
        self.to_client.put(frame)

    def end(self, by: By) -> None:
        """For directions: the client cannot use it any more."""
        if self.is_open:
            self.is_open = False
            self._report(Event(kind="end", by=by, at=time.monotonic(), connection=self.number))

    def report(self, events: list[Event]) -> None:
        for event in events:
            if event.kind == "hello":
                self.name = event.name
            self._report(event)

    def _report(self, event: Event) -> None:
        self._note(event, self)


class _Direction:
    """Takes from one side and gives to the other. The client's frames are told when they are taken, the broker's
    when they are given."""

    def __init__(self, link: Link, by: By, chance: random.Random) -> None:
        #: Bytes given so far.
        self.passed = 0
        self._link = link
        self._by = by
        self._chance = chance
        self._decoder = Decoder(by, link.number)
        self._way = CLEAR
        self._held: deque[tuple[float, bytes | _End]] = deque()
        self._held_bytes = 0
        self._changed = asyncio.Event()

    @property
    def way(self) -> Way:
        return self._way

    def become(self, way: Way) -> None:
        self._way = way
        if way.reset_after_s is not None:
            asyncio.get_running_loop().call_later(way.reset_after_s, self._reset_if, way)
        self.wake()

    def wake(self) -> None:
        self._changed.set()

    def _reset_if(self, way: Way) -> None:
        if self._way is way:
            self._link.reset()

    async def take(self, reader: asyncio.StreamReader) -> None:
        end: _End = "closed"
        try:
            while data := await reader.read(_CHUNK):
                if self._by == "client":
                    self._link.report(self._decoder.feed(data, time.monotonic()))
                self.put(data)
                await self._until(lambda: self._held_bytes < _HELD_BYTES)
        except OSError:
            end = "reset"
        if self._by == "client":
            self._link.end("client")
        self.put(end)

    async def give(self, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                await self._until(lambda: bool(self._held) and not self._way.silent)
                if not self._link.is_alive:
                    return
                arrived, what = self._held.popleft()
                if isinstance(what, str):
                    await self._pass_end(writer, what)
                    return
                self._held_bytes -= len(what)
                await self._pass(writer, what, arrived)
                self.wake()

    def put(self, what: bytes | _End) -> None:
        self._held.append((time.monotonic(), what))
        self._held_bytes += len(what) if isinstance(what, bytes) else 0
        self.wake()

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, or for the end of everything."""
        while self._link.is_alive and not condition():
            self._changed.clear()
            await self._changed.wait()

    async def _pass(self, writer: asyncio.StreamWriter, data: bytes, arrived: float) -> None:
        way = self._way
        if way.latency_s or way.jitter_s:
            due = arrived + way.latency_s + self._chance.uniform(-way.jitter_s, way.jitter_s)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        while data:
            await self._until(lambda: not self._way.silent)
            if not self._link.is_alive:
                return
            way = self._way
            size = self._piece(way, len(data))
            piece, data = data[:size], data[size:]
            # Before the client can see it: the logs of several proxies are compared by time.
            given = time.monotonic()
            writer.write(piece)
            self.passed += size
            if self._by == "broker":
                self._link.report(self._decoder.feed(piece, given))
            if way.limit_bytes is not None and self.passed >= way.limit_bytes:
                self._link.reset()
                return
            await writer.drain()
            if way.bytes_per_s or way.one_byte:
                await asyncio.sleep(size / way.bytes_per_s if way.bytes_per_s else 0)

    def _piece(self, way: Way, size: int) -> int:
        if way.one_byte:
            return 1
        if way.bytes_per_s:
            size = min(size, max(1, way.bytes_per_s // _PIECES_PER_S))
        if way.limit_bytes is not None:
            size = min(size, max(1, way.limit_bytes - self.passed))
        return size

    async def _pass_end(self, writer: asyncio.StreamWriter, end: _End) -> None:
        await asyncio.sleep(self._way.slow_close_s)
        if self._by == "broker":
            self._link.end("broker")
        if end == "reset":
            abort(writer)
        elif writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()


def abort(writer: asyncio.StreamWriter) -> None:
    """Close by RST: what was not sent is gone, and the other side's next read fails."""
    raw = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
