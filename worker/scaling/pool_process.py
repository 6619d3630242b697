"""One worker process of a pool: started, listened to, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.console.start import command

#: What a worker says within this time of a restart is held back, in case that it only fails again.
LISTEN_S = 10.0
_KEPT_LINES = 100
_LONGEST_LINE = 1024 * 1024


#: Times, process ids, ports: what differs from one start to the next although the reason is the same.
_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class End:
    """How a worker ended, and what it said last."""

    code: int
    was_ready: bool
    reason: str

    @property
    def kind(self) -> tuple[int, str]:
        """Equal for all that ended for one reason."""
        return self.code, _NUMBERS.sub("#", self.reason)

    def __str__(self) -> str:
        how = signal.Signals(-self.code).name if self.code < 0 else f"exit code {self.code}"
        when = "" if self.was_ready else " before it was ready"
        return f"ended with {how}{when}" + ("" if self.was_ready or not self.reason else f": {self.reason}")


class WorkerProcess:
    """``python -m worker QUEUE``. Its standard error goes to ours, line by line, as it is."""

    def __init__(self, queue: str, options: Sequence[str], environ: Mapping[str, str]) -> None:
        self._command = command("worker", queue, *options)
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._held: list[str] = []
        self._last = ""
        self._is_quiet = False
        self._unsent: signal.Signals | None = None
        self.ready = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """None before it is started."""
        return None if self._process is None else self._process.pid

    async def run(self, *, quietly: bool) -> End:
        """Start it, and wait for its end. ``quietly``: what it says is shown only once it is ready, or lives
        on."""
        # A group of its own: Ctrl-C is for the pool, which then signals its workers, once.
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=dict(self._environ),
                limit=_LONGEST_LINE,
                process_group=0,
            )
        except OSError as error:
            return End(os.EX_OSERR, False, f"no process can be started: {error}")
        if self._unsent is not None:
            self.send(self._unsent)
        self._is_quiet = quietly
        patience = asyncio.get_running_loop().call_later(LISTEN_S, self._show_held)
        try:
            reading = asyncio.create_task(self._read(self._process.stderr))
            code = await self._process.wait()
            # What it started may outlive it and hold its standard error.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reading, 1.0)
        finally:
            patience.cancel()
        return End(code, self.ready.is_set(), self._last)

    def send(self, number: signal.Signals) -> None:
        """A signal, if it runs; as soon as it runs, if it is being started."""
        if self._process is None:
            self._unsent = number
        elif self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _show_held(self) -> None:
        self._is_quiet = False
        held, self._held = self._held, []
        for line in held:
            sys.stderr.write(line)

    async def _read(self, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None
        while True:
            try:
                raw = await stream.readline()
            except ValueError:
                continue  # a line longer than any of ours, of a handler
            if not raw:
                return
            line = raw.decode("utf-8", "backslashreplace")
            self._last = line.strip() or self._last
            if "ready: " in line and "not ready: " not in line:
                self.ready.set()
                self._show_held()
            if self._is_quiet:
                self._held = [*self._held[-_KEPT_LINES:], line]
            else:
                sys.stderr.write(line)
