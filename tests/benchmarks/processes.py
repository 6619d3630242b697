"""A process that is measured: its lines, its answers, and the CPU that it and its children have used."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from protocol.errors import GlassrabbitError
from tests.benchmarks.work import ANSWER, PASSED

ROOT = Path(__file__).parents[2]

_PROC = Path("/proc")
_LOG_LINES = 20
_END_S = 5.0


class Stuck(GlassrabbitError):
    """A process ended, or said nothing in time."""


class Process:
    """Runs from its making until ``stop``. ``with`` stops it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._name = " ".join(command[1:])
        self._started_s = time.monotonic()
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # What it starts ends with it: see ``stop``.
            start_new_session=True,
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def wait_ready(self, text: str = "ready", within_s: float = 30.0) -> float:
        """Seconds from its start until it printed a line with that text. Raises ``Stuck``."""
        self._wait_for(text, within_s)
        return time.monotonic() - self._started_s

    def ask(self, within_s: float, **question: Any) -> Any:
        """Send one question to a requester and wait for its answer. Raises ``Stuck``."""
        self.tell(**question)
        return self.answer(within_s)

    def tell(self, **question: Any) -> None:
        """Send one question; ``answer`` waits for what it says."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise Stuck(self._told("has ended")) from error

    def answer(self, within_s: float) -> Any:
        return json.loads(self._wait_for(ANSWER, within_s).removeprefix(ANSWER))

    def wait_passed(self, within_s: float) -> int:
        """How many tasks a requester says are done; it says so now and then."""
        return int(self._wait_for(PASSED, within_s).removeprefix(PASSED))

    def cpu_s(self) -> float | None:
        return cpu_s(self._process.pid)

    def memory(self) -> Memory | None:
        return memory(self._process.pid)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not end it, with all that it started."""
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_END_S)
        self._reader.join(_END_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _wait_for(self, text: str, within_s: float) -> str:
        deadline = time.monotonic() + within_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise Stuck(self._told(f"did not print {text!r} within {within_s:g} s")) from None
            if line is None:
                raise Stuck(self._told("has ended"))
            if text in line:
                return line

    def _told(self, what: str) -> str:
        return "\n".join([f"{self._name} {what}; its last lines say why:", *self._log])

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.startswith(ANSWER):
                self._log.append(line.rstrip("\n"))
            self._lines.put(line)
        self._lines.put(None)


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a process and its descendants; what several share counts once (PSS)."""

    megabytes: float
    processes: int


def cpu_s(root: int | None) -> float | None:
    """CPU seconds of a process and all its descendants that live; None if that cannot be known here."""
    if root is None or not _PROC.is_dir() or _stat(root) is None:
        return None
    return sum(stat[1] for pid in _family(root) if (stat := _stat(pid)) is not None)


def machine_cpu_s() -> float | None:
    """CPU seconds that all of the machine has used; None if that cannot be known here."""
    if not _PROC.is_dir():
        return None
    user, nice, system, _idle, _waiting, interrupts, soft, stolen = (
        int(field) for field in (_PROC / "stat").read_text().split()[1:9]
    )
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def memory(root: int) -> Memory | None:
    """None if that cannot be known here."""
    if not _PROC.is_dir():
        return None
    sizes = [size for pid in _family(root) if (size := _pss_kb(pid)) is not None]
    return Memory(sum(sizes) / 1024, len(sizes)) if sizes else None


def _family(root: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit() and (stat := _stat(int(folder.name))) is not None:
            children.setdefault(stat[0], []).append(int(folder.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
        yield pid


def _pss_kb(pid: int) -> int | None:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), None)


def _stat(pid: int) -> tuple[int, float] | None:
    """Parent and CPU seconds of a process; None if it is gone."""
    try:
        # The name, in parentheses, may hold anything; what follows it is plain.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    parent, user, system = fields[1], fields[11], fields[12]
    return int(parent), (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
