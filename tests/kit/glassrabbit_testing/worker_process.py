"""A worker as a process of its own, and its log."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from broker.console.start import command
from glassrabbit_testing.waiting import patiently

_READY_S = 30.0
_END_S = 10.0
_LAST_WORDS_S = 5.0


class WorkerProcess:
    """``glassrabbit worker QUEUE…`` from its start until ``stop``, which ends it by SIGKILL if it still runs."""

    words: Sequence[str] = command("worker")
    #: Where it runs; None: in the current one.
    folder: Path | None = None

    def __init__(
        self,
        queues: Sequence[str],
        environment: Mapping[str, str],
        stdout: int | IO[str] = subprocess.DEVNULL,
        before: Sequence[str] = (),
        cwd: Path | None = None,
    ) -> None:
        """``before``: a program that starts it, and its words. ``cwd``: another folder than ``folder``."""
        self._started_s = time.monotonic()
        self._process = subprocess.Popen(
            [*before, *self.words, *queues],
            cwd=cwd or self.folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self._lines: list[str] = []
        self._ended = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, name="worker log", daemon=True)
        self._reader.start()
        #: Seconds from its start until it said ``ready``; 0 before.
        self.ready_after_s = 0.0

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def log(self) -> str:
        with self._news:
            return "\n".join(self._lines)

    def lines(self, text: str) -> list[str]:
        """The lines of the log that contain a text."""
        with self._news:
            return [line for line in self._lines if text in line]

    def wait_for(self, text: str, within_s: float = 20.0, count: int = 1) -> None:
        """Return as soon as ``count`` lines of the log contain ``text``."""

        def is_there() -> bool:
            return sum(text in line for line in self._lines) >= count

        with self._news:
            patiently(lambda for_s: self._news.wait_for(lambda: self._ended or is_there(), for_s), within_s)
            found = is_there()
        assert found, f"the worker did not say {text!r} within {within_s:g} s:\n{self.log}"

    def wait_ready(self, within_s: float = _READY_S) -> Self:
        self.wait_for(" ready: ", within_s)
        self.ready_after_s = time.monotonic() - self._started_s
        return self

    def sigterm(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def sigkill(self) -> None:
        self._process.send_signal(signal.SIGKILL)

    def wait(self, within_s: float = _END_S) -> int:
        """Its exit code, once it has ended."""
        assert patiently(lambda for_s: ends(self._process, for_s), within_s), (
            f"the worker did not end within {within_s:g} s:\n{self.log}"
        )
        code = self._process.wait()
        self._reader.join(_LAST_WORDS_S)
        return code

    def stop(self) -> None:
        """End it. Bounded even if something that it started lives on and holds its standard error."""
        if self.is_alive:
            self.sigkill()
        self.wait()
        assert not self._reader.is_alive(), f"something that the worker started outlives it:\n{self.log}"

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                with self._news:
                    self._lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


def ends(process: subprocess.Popen[Any], within_s: float) -> bool:
    """Whether it has ended by then."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(within_s)
    return process.poll() is not None
