"""Workers for one turn of ``load ab``, and for the demo: started, ready, watched, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections import deque
from collections.abc import Mapping, Sequence

from broker.console import log_format
from broker.console.start import command
from dispatcher.errors import CallError

_READY_S = 30.0
#: More than a worker's own grace: what it needs to close.
_CLOSE_S = 10.0
_LAST_WORDS_S = 1.0
_LONGEST_LINE = 1024 * 1024
_READY = re.compile(r"(?<!not )ready: ((\S+) consumes .*)")


class WorkerEnded(CallError):
    """A worker of ours ended, or was not ready in time; the text has what it said last."""


class Workers:
    """``count`` processes ``python -m worker QUEUES``. Life: ``start`` → ``ended`` → ``stop``, which is a must."""

    def __init__(
        self, count: int, queues: Sequence[str], config: str | None, environ: Mapping[str, str], grace_s: float
    ) -> None:
        self._count = count
        self._words = [*queues, *(() if config is None else ("--config", config))]
        # What they say is read here, and may end in an error for a person.
        self._environ = {**environ, log_format.VARIABLE: log_format.TEXT}
        self._grace_s = grace_s
        self._processes: list[asyncio.subprocess.Process] = []
        self._readers: list[asyncio.Task[None]] = []
        self._said: dict[int, deque[str]] = {}
        self._news = asyncio.Condition()
        #: As replies name them, and what they said when they were ready.
        self.identities: set[str] = set()
        self.ready: list[str] = []

    async def start(self) -> None:
        """Return once all of them consume. Raises ``WorkerEnded`` if one is not ready in time, ``OSError``."""
        for _ in range(self._count):
            process = await asyncio.create_subprocess_exec(
                *command("worker", *self._words),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=self._environ,
                limit=_LONGEST_LINE,
                # Ctrl-C is for us, who then end them.
                process_group=0,
            )
            self._processes.append(process)
            self._said[process.pid] = deque(maxlen=20)
            self._readers.append(asyncio.create_task(self._read(process)))
        ready, ended = asyncio.create_task(self._all_ready()), asyncio.create_task(self.ended())
        try:
            await asyncio.wait({ready, ended}, timeout=_READY_S, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                await ended
            if not ready.done():
                last = " ".join(said[-1] for said in self._said.values() if said) or "they said nothing"
                raise WorkerEnded(f"the workers were not ready within {_READY_S:g} s: {last}")
        finally:
            ready.cancel()
            ended.cancel()

    async def ended(self) -> None:
        """Raises ``WorkerEnded`` as soon as a process ends, and does not return before."""
        ends = {asyncio.create_task(process.wait()): number for number, process in enumerate(self._processes)}
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        end = done.pop()
        number, code = ends[end], end.result()
        # What it started may outlive it and hold its standard error.
        await asyncio.wait({self._readers[number]}, timeout=_LAST_WORDS_S)
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        said = self._said[self._processes[number].pid]
        raise WorkerEnded(f"a worker ended with {how}: {said[-1] if said else 'it said nothing'}")

    async def stop(self) -> None:
        """Let what runs finish, for as long as the configuration says, and see them end; then none is left."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        try:
            async with asyncio.timeout(self._grace_s + _CLOSE_S):
                await asyncio.gather(*(process.wait() for process in self._processes))
        except TimeoutError:
            pass
        finally:
            for process in self._processes:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()
            for reader in self._readers:
                reader.cancel()

    async def _all_ready(self) -> None:
        async with self._news:
            await self._news.wait_for(lambda: len(self.identities) == self._count)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while True:
            try:
                raw = await process.stderr.readline()
            except ValueError:
                continue  # a line longer than any of ours, of a handler
            if not raw:
                return
            line = raw.decode("utf-8", "backslashreplace").strip()
            self._said[process.pid].append(line)
            if found := _READY.search(line):
                async with self._news:
                    self.ready.append(found[1])
                    self.identities.add(found[2])
                    self._news.notify_all()
