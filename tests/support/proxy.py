"""A network that a test can spoil: a TCP proxy on loopback, switched while it runs.

Each direction is slow, dear, cut into bytes, silent or short as its ``Way`` says; connections are reset, closed
slowly, accepted and left alone, or refused. What passes is decoded (``tests.support.frames``) and noted in ``log``
in the order in which the client sees it: what it says when it is taken, what it hears when it is given.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

from tests.support.frames import Event
from tests.support.link import CLEAR, SILENT, Link, Way

T = TypeVar("T")

#: What becomes of a new connection: passed on, accepted and left alone, accepted and ended (as the port of a
#: container does whose broker is starting), refused by the kernel.
Welcome = Literal["pass", "hang", "drop", "refuse"]

_LOOPBACK = "127.0.0.1"
_WITHIN_S = 10.0


class Proxy:
    """``with Proxy(host, port) as proxy``: connections to ``proxy.port`` are passed on. Usable from any thread."""

    def __init__(self, host: str, port: int, listen: int = 0, *, seed: int = 0, keep_log: bool = True) -> None:
        """``listen``: the port to take connections on (0: any that is free). ``seed`` decides the jitter.
        Without ``keep_log`` nothing is noted, and ``on_event`` alone hears of what passes."""
        self.port = listen
        #: What passed, on all connections, oldest first.
        self.log: list[Event] = []
        #: Every connection that was accepted, the ended ones included.
        self.links: list[Link] = []
        #: Called on the proxy's own thread with each event, before what the client said is passed on. It may
        #: change the ways of the link (``link.to_broker.become(SILENT)``) or reset it, and must not wait.
        self.on_event: Callable[[Event, Link], None] | None = None
        self._target = (host, port)
        self._to_broker = self._to_client = CLEAR
        self._welcome: Welcome = "pass"
        self._chance = random.Random(seed)
        self._keep_log = keep_log
        self._listening: asyncio.Task[None] | None = None
        self._reserved: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WITHIN_S)
        self._loop.close()

    @property
    def accepted(self) -> int:
        """Connections so far."""
        return len(self.links)

    @property
    def live(self) -> list[Link]:
        """Connections that nobody has ended."""
        return [link for link in list(self.links) if link.is_open]

    @property
    def bytes_to_broker(self) -> int:
        return sum(link.to_broker.passed for link in list(self.links))

    @property
    def bytes_to_client(self) -> int:
        return sum(link.to_client.passed for link in list(self.links))

    def events(self, kind: str, **fields: Any) -> list[Event]:
        """The events of one kind whose fields have these values."""
        wanted = fields.items()
        return [
            event
            for event in list(self.log)
            if event.kind == kind and all(getattr(event, key) == value for key, value in wanted)
        ]

    def spoil(
        self, *, to_broker: Way | None = None, to_client: Way | None = None, names: str | None = None
    ) -> None:
        """From now on this happens on every connection, those to come included. With ``names``: only on those that
        are there and have it in their names. None: as it is."""
        self._do(self._spoil(to_broker, to_client, names))

    def heal(self) -> None:
        """Be a good network again, for every connection. What was held arrives."""
        self.spoil(to_broker=CLEAR, to_client=CLEAR)

    def welcome(self, how: Welcome) -> None:
        """What becomes of new connections from now on. Those that were left alone stay so."""
        self._do(self._set_welcome(how))

    def reset(self, names: str = "") -> int:
        """Reset (RST to both sides) the connections that have ``names`` in their names; how many there were."""
        return self._do(self._reset(names))

    def lose_answers(self) -> None:
        """From now on nothing that the broker says arrives; what is said to it does."""
        self.spoil(to_client=SILENT)

    def cut(self) -> None:
        """End all connections, what was held is lost; be a good network to new ones."""
        self.reset()
        self.heal()

    def refuse(self) -> None:
        """End all connections and refuse new ones, until ``admit``."""
        self.welcome("refuse")
        self.reset()

    def admit(self) -> None:
        self.welcome("pass")

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_WITHIN_S)

    async def _listen(self) -> None:
        listener = self._reserved or _bound(self.port)
        self._reserved = None
        listener.listen(1000)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._listening = asyncio.create_task(self._accept(listener))

    async def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                client, _address = await asyncio.get_running_loop().sock_accept(listener)
                task = asyncio.create_task(self._pass_on(client))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _stop_listening(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listening = None

    async def _pass_on(self, client: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=client)
        link = Link(len(self.links), reader, writer, self._note, self._chance)
        self.links.append(link)
        link.to_broker.become(self._to_broker)
        link.to_client.become(self._to_client)
        if self._welcome == "drop":
            link.reset()
        await (link.hang() if self._welcome == "hang" else link.pass_on(*self._target))

    def _note(self, event: Event, link: Link) -> None:
        if self._keep_log:
            self.log.append(event)
        if self.on_event is not None:
            self.on_event(event, link)

    async def _spoil(self, to_broker: Way | None, to_client: Way | None, names: str | None) -> None:
        if names is None:
            self._to_broker, self._to_client = to_broker or self._to_broker, to_client or self._to_client
        for link in self.live if names is not None else self.links:
            if names is None or names in link.name:
                if to_broker is not None:
                    link.to_broker.become(to_broker)
                if to_client is not None:
                    link.to_client.become(to_client)

    async def _set_welcome(self, how: Welcome) -> None:
        self._welcome = how
        if how == "refuse":
            await self._stop_listening()
            # Nobody else gets the port meanwhile. One that is bound and does not listen refuses connections.
            self._reserved = self._reserved or _bound(self.port)
        elif self._listening is None:
            await self._listen()

    async def _reset(self, names: str) -> int:
        chosen = [link for link in self.links if link.is_alive and names in link.name]
        for link in chosen:
            link.reset()
        return len(chosen)

    async def _close(self) -> None:
        await self._stop_listening()
        if self._reserved is not None:
            self._reserved.close()
        for link in self.links:
            link.reset()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _bound(port: int) -> socket.socket:
    """A socket that has the port, and does not listen yet."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((_LOOPBACK, port))
    return bound
