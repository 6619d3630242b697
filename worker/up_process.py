"""One worker process of a pool: started, listened to, told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: What a worker says within this time of a restart is held back, in case that it only fails again.
LISTEN_S = 5.0
_KEPT_LINES = 100
_LONGEST_LINE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class End:
    """How a worker ended, and what it said last."""

    code: int
    was_ready: bool
    reason: str

    def __str__(self) -> str:
        how = signal.Signals(-self.code).name if self.code < 0 else f"exit code {self.code}"
        when = "" if self.was_ready else " before it was ready"
        return f"ended with {how}{when}" + ("" if self.was_ready or not self.reason else f": {self.reason}")


class WorkerProcess:
    """``python -m worker QUEUE``. Its standard error goes to ours, line by line, as it is."""

    def __init__(self, queue: str, options: Sequence[str], environ: Mapping[str, str]) -> None:
        self._command = [sys.executable, "-m", "worker", queue, *options]
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._held: list[str] = []
        self._last = ""
        self.ready = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """None before it is started."""
        return None if self._process is None else self._process.pid

    async def run(self, *, quietly: bool) -> End:
        """Start it, and wait for its end. ``quietly``: what it says is told only once it is ready, or lives on."""
        # A group of its own: Ctrl-C is for the pool, which then tells its workers, once.
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=dict(self._environ),
            limit=_LONGEST_LINE,
            process_group=0,
        )
        patience = asyncio.get_running_loop().call_later(LISTEN_S, self._tell)
        self._is_quiet = quietly
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
        """A signal, if it runs."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _tell(self) -> None:
        self._is_quiet = False
        held, self._held = self._held, []
        for line in held:
            _write(line)

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
                self._tell()
            if self._is_quiet:
                self._held = [*self._held[-_KEPT_LINES:], line]
            else:
                _write(line)


def _write(line: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(line)
        sys.stderr.flush()
