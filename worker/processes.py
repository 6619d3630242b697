"""The process executor: children that are fresh interpreters, one task in each at a time.

A crash or a time-out is charged to the one task that ran in the child, and the child is replaced. The loop that
owns AMQP never runs a handler, so nothing that a handler does can stop heartbeats.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict

from broker.errors import ConfigError
from protocol.errors import ErrorCode
from protocol.limits import Limits
from worker import frames
from worker.child import READY
from worker.handler import Call
from worker.outcome import Failed, Outcome

log = logging.getLogger("glassrabbit.worker")

#: A new interpreter that takes longer than this to import the handlers is given up.
START_TIMEOUT_S = 60.0
#: After a child that died before it was ready: do not start the next one at once.
RESTART_WAIT_S = 0.5
LONGEST_RESTART_WAIT_S = 15.0
STOP_TIMEOUT_S = 2.0
_SECRETS = ("GLASSRABBIT__BROKER__", "GLASSRABBIT__WORKER__HTTP__")


class ChildLost(Exception):
    """The child's end of the socket pair is gone."""


class Child:
    """One child process. Replaced, never repaired."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process = process
        self._reader = reader
        self._writer = writer
        self._watch = asyncio.create_task(self._hang_up_when_gone())

    @classmethod
    async def start(cls, setup: list[object]) -> Child:
        """Start an interpreter and hand it its handlers. Raises ``ConfigError`` or ``ChildLost``."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "worker.child",
                str(theirs.fileno()),
                stdin=asyncio.subprocess.PIPE,
                # Standard output is for data; a handler's prints are not data of ours.
                stdout=sys.stderr.fileno() if _has_descriptor() else None,
                pass_fds=(theirs.fileno(),),
                env=_without_login(os.environ),
                process_group=0,
            )
        reader, writer = await asyncio.open_connection(sock=ours, limit=2**16)
        child = cls(process, reader, writer)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                state, *problems = await child.ask(setup)
        except TimeoutError as error:
            await child.kill()
            raise ConfigError([f"a child did not load its handlers within {START_TIMEOUT_S:g} s."]) from error
        except ChildLost:
            await child.kill()
            raise
        if state != READY:
            await child.kill()
            raise ConfigError([str(problem) for problem in problems])
        return child

    async def _hang_up_when_gone(self) -> None:
        """The end of the process ends the conversation, even if a fork of it holds its end of the pair."""
        await self.process.wait()
        self._writer.transport.abort()

    async def ask(self, value: list[object]) -> list[object]:
        """Send one frame and wait for the answer. Raises ``ChildLost`` if the child ends before it."""
        try:
            self._writer.write(frames.pack(value))
            (size,) = frames.HEAD.unpack(await self._reader.readexactly(frames.HEAD.size))
            answer: list[object] = frames.unpack(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError) as error:
            raise ChildLost from error
        return answer

    async def kill(self) -> int:
        """End the child and whatever its handlers started; its return code."""
        self._writer.close()
        # Before it has been waited for, its number cannot belong to another process.
        if self.process.returncode is None:
            _kill_group(self.process.pid)
        return await self.process.wait()

    async def stop(self) -> None:
        """Let an idle child end by itself; kill it if it does not."""
        self._writer.close()
        try:
            await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            await self.kill()

    async def fate(self) -> str:
        """What became of a child that was lost, in words."""
        try:
            code = await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            code = await self.kill()
        # What it forked holds the group, and the group its number, until the last of them has ended.
        _kill_group(self.process.pid)
        self._writer.close()
        if code >= 0:
            return f"the process that ran it ended with exit code {code}"
        return f"the process that ran it was ended by {signal.Signals(-code).name}"


def _without_login(environment: Mapping[str, str]) -> dict[str, str]:
    """For handlers, who have no business with the broker's password, or the token of the metrics."""
    return {
        name: value
        for name, value in environment.items()
        if name != "BROKER_URL" and not name.upper().startswith(_SECRETS)
    }


class ProcessExecutor:
    """``size`` children, each with the handlers of ``handlers`` (task → ``module:function``)."""

    def __init__(self, size: int, handlers: dict[str, str], limits: Limits, paths: list[str]) -> None:
        self._size = size
        self._setup: list[object] = [paths, handlers, asdict(limits)]
        self._idle: asyncio.Queue[Child] = asyncio.Queue()
        self._children: set[Child] = set()
        self._replacing: set[asyncio.Task[None]] = set()
        self._stopping = False
        #: Children that were lost and replaced.
        self.restarts = 0
        #: Replacements that failed to start at their latest attempt.
        self._failing = 0

    @property
    def problem(self) -> str | None:
        return "children cannot be started" if self._failing else None

    async def start(self) -> None:
        async with asyncio.TaskGroup() as group:
            starts = [group.create_task(_started(self._setup)) for _ in range(self._size)]
        for start in starts:
            result = start.result()
            if isinstance(result, ConfigError):
                await self.stop()
                raise result
            self._add(result)

    async def run(self, call: Call) -> Outcome:
        while (child := await self._idle.get()).process.returncode is not None:
            # It died with nothing to do, so no task is to blame.
            self._replace(child)
            await child.kill()
        try:
            async with asyncio.timeout(call.timeout_s):
                answer = await child.ask(frames.from_call(call))
        except TimeoutError:
            self._replace(child)
            await child.kill()
            return Failed(ErrorCode.TIMED_OUT, "TimeLimit", f"stopped after its limit of {call.timeout_s:g} s")
        except ChildLost:
            self._replace(child)
            return Failed(ErrorCode.WORKER_LOST, "ChildLost", await child.fate())
        except asyncio.CancelledError:
            self._children.discard(child)
            await child.kill()
            raise
        self._idle.put_nowait(child)
        return frames.to_outcome(answer)

    async def stop(self) -> None:
        self._stopping = True
        for task in self._replacing:
            task.cancel()
        await asyncio.gather(*(child.stop() for child in self._children))

    def _add(self, child: Child) -> None:
        self._children.add(child)
        self._idle.put_nowait(child)

    def _replace(self, child: Child) -> None:
        self._children.discard(child)
        if not self._stopping:
            self.restarts += 1
            task = asyncio.create_task(self._start_another())
            self._replacing.add(task)
            task.add_done_callback(self._replacing.discard)

    async def _start_another(self) -> None:
        """Start a child in the place of one that was lost, for as long as it takes; the reason is told once."""
        wait_s, told = RESTART_WAIT_S, False
        try:
            while True:
                try:
                    self._add(await Child.start(self._setup))
                    return
                except (ConfigError, ChildLost, OSError) as error:
                    if not told:
                        told = True
                        self._failing += 1
                        log.error("a child cannot be started, trying again until it can: %s", error or "it ended")
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, LONGEST_RESTART_WAIT_S)
        finally:
            self._failing -= told


async def _started(setup: list[object]) -> Child | ConfigError:
    """A child, or why there is none, as a value: one failure must not leave its siblings unowned."""
    try:
        return await Child.start(setup)
    except ConfigError as error:
        return error
    except (ChildLost, OSError) as error:
        return ConfigError([f"a child ended while it loaded the handlers ({error!r}). Look at its output above."])


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _has_descriptor() -> bool:
    try:
        sys.stderr.fileno()
    except (OSError, AttributeError, ValueError):
        return False
    return True
