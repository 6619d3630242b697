"""The worker's side of a zygote (``worker.execution.zygote_main``): asks it for forks, hears of their ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections import deque
from typing import Any

import msgpack

from broker.errors import ConfigError
from worker.execution import child_protocol as said
from worker.execution.child_process import STOP_TIMEOUT_S, Child, ChildLost, not_imported
from worker.execution.spawned import Spawned

log = logging.getLogger("glassrabbit.worker")


class Forked:
    """A child that the zygote forked. See ``child_process.Process``."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self._zygote = zygote
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.pid = pid
        self.is_orphan = False

    @property
    def returncode(self) -> int | None:
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def kill(self, number: int = signal.SIGKILL) -> None:
        # The zygote ended its group when it ended, and only a zygote knows whose the number is.
        if not self._ended.done():
            self._zygote.signal(self.pid, number)

    def ended(self, code: int, *, is_orphan: bool = False) -> None:
        if not self._ended.done():
            self.is_orphan = is_orphan
            self._ended.set_result(code)


class Zygote:
    """Life: ``start`` → ``fork``, as often as wanted → ``stop``, after its children have ended."""

    def __init__(self, process: Spawned, ours: socket.socket, lifeline: int) -> None:
        self._process = process
        self._socket = ours
        self._lifeline = lifeline
        self._loop = asyncio.get_running_loop()
        #: What it was asked and has not answered, the oldest first.
        self._asked: deque[asyncio.Future[list[Any]]] = deque()
        self._forked: dict[int, Forked] = {}
        self.is_lost = False
        ours.setblocking(False)
        self._loop.add_reader(ours, self._read)

    @classmethod
    async def start(cls, setup: list[object], *, with_login: bool, import_timeout_s: float) -> Zygote | str:
        """A zygote that has the handlers, or why they cannot be forked.

        Raises ``ChildLost``, ``OSError``, or ``ConfigError``, also if the handlers are not imported in time.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        lifeline_end, lifeline = os.pipe()
        with theirs, os.fdopen(lifeline_end), contextlib.ExitStack() as unless_started:
            unless_started.callback(ours.close)
            unless_started.callback(os.close, lifeline)
            process = await Spawned.start(
                "worker.execution.zygote_main", lifeline_end, [theirs.fileno()], with_login=with_login
            )
            unless_started.pop_all()
        zygote = cls(process, ours, lifeline)
        try:
            async with asyncio.timeout(import_timeout_s):
                state, *rest = await zygote._ask(setup)
        except TimeoutError as error:
            await zygote.kill()
            raise not_imported(import_timeout_s) from error
        except (ChildLost, OSError, asyncio.CancelledError):
            await zygote.kill()
            raise
        if state == said.READY:
            return zygote
        await zygote.kill()
        if state == said.UNFIT:
            return str(rest[0])
        raise ConfigError([str(problem) for problem in rest])

    async def fork(self, lifeline: int, pair: int, tokens: int) -> Forked:
        """A new child with these descriptors. Raises ``ChildLost``, ``OSError`` if there can be no more."""
        state, value = await self._ask([said.FORK], lifeline, pair, tokens)
        if state == said.REFUSED:
            raise OSError(value)
        return self._forked[value]

    def signal(self, pid: int, number: int) -> None:
        # If it cannot be asked any more, its children end without that.
        with contextlib.suppress(OSError):
            self._send([said.KILL, pid, number])

    def _send(self, message: list[object], *descriptors: int) -> None:
        socket.send_fds(self._socket, [msgpack.packb(message)], list(descriptors))

    async def _ask(self, message: list[object], *descriptors: int) -> list[Any]:
        if self.is_lost:
            raise ChildLost
        answer: asyncio.Future[list[Any]] = self._loop.create_future()
        self._send(message, *descriptors)
        self._asked.append(answer)
        return await answer

    def _read(self) -> None:
        try:
            while data := self._socket.recv(said.READ_BYTES):
                self._heard(said.unpack(data))
        except BlockingIOError:
            return
        except OSError:
            pass
        self._lost()

    def _heard(self, message: list[Any]) -> None:
        match message:
            case [said.ENDED, int(pid), int(code)]:
                self._forked.pop(pid).ended(code)
                return
            case [said.FORKED, int(pid)]:
                self._forked[pid] = Forked(self, pid)
        answer = self._asked.popleft()
        if not answer.done():
            answer.set_result(message)

    def _lost(self) -> None:
        """Its children end with it: each of their lifelines is closed as soon as it counts as ended."""
        if self.is_lost:
            return
        self.is_lost = True
        self._loop.remove_reader(self._socket)
        self._socket.close()
        for answer in self._asked:
            if not answer.done():
                answer.set_exception(ChildLost())
        for child in self._forked.values():
            child.ended(-signal.SIGKILL, is_orphan=True)

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._gone()

    async def stop(self) -> None:
        """Let it end by itself; kill it if it does not."""
        self._lost()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            self._process.kill()
        await self._gone()

    async def _gone(self) -> None:
        self._lost()
        await self._process.wait()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


class Nursery:
    """Where the children of an executor come from: forks of a zygote, or fresh interpreters."""

    def __init__(
        self,
        setup: list[object],
        *,
        forks: bool = False,
        with_login: bool = False,
        import_timeout_s: float = 60.0,
    ) -> None:
        """``forks``: where the system and the handlers allow it. ``with_login``: with all of our environment."""
        self._setup = setup
        self._forks = forks and sys.platform == "linux"
        self._with_login = with_login
        self._import_timeout_s = import_timeout_s
        self._zygote: Zygote | None = None
        self._starting = asyncio.Lock()

    async def begin(self) -> None:
        """See that there is a zygote, if children are to be forked. Raises what ``Zygote.start`` does."""
        async with self._starting:
            if not self._forks or (self._zygote is not None and not self._zygote.is_lost):
                return
            await self._stop_zygote()
            found = await Zygote.start(
                self._setup, with_login=self._with_login, import_timeout_s=self._import_timeout_s
            )
            if isinstance(found, Zygote):
                self._zygote = found
                return
            self._forks = False
            log.warning("children are fresh interpreters that share no memory: %s (worker.start)", found)

    async def child(self) -> Child:
        """A new child. Raises ``ChildLost``, ``ConfigError`` or ``OSError``."""
        await self.begin()
        if self._zygote is None:
            return await Child.start(self._spawn, self._setup, self._import_timeout_s)
        return await Child.start(self._zygote.fork, None, self._import_timeout_s)

    async def _spawn(self, lifeline: int, pair: int, tokens: int) -> Spawned:
        name = "worker.execution.child_main"
        return await Spawned.start(name, lifeline, [pair, tokens], with_login=self._with_login)

    async def stop(self) -> None:
        """To be called after the children have ended."""
        async with self._starting:
            self._forks = False
            await self._stop_zygote()

    async def _stop_zygote(self) -> None:
        if self._zygote is not None:
            await self._zygote.stop()
            self._zygote = None
