"""A process that is measured: its lines, its answers, and the CPU that it and its children have used."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from protocol.errors import GlassrabbitError

ROOT = Path(__file__).parents[2]
#: A requester's answers begin with this; whatever else it prints is its log.
ANSWER = "answer "

_PROC = Path("/proc")
_LOG_LINES = 20
_END_S = 5.0


class Stuck(GlassrabbitError):
    """A process ended, or said nothing in time."""


class Process:
    """Runs from its making until ``stop``. ``with`` stops it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._name = " ".join(command[2:])
        self._started_s = time.monotonic()
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
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

    def wait_ready(self, within_s: float = 20.0) -> float:
        """Seconds from its start until it printed a line with ``ready``. Raises ``Stuck``."""
        self._wait_for("ready", within_s)
        return time.monotonic() - self._started_s

    def ask(self, within_s: float, **question: Any) -> Any:
        """Send one question to a requester and wait for its answer. Raises ``Stuck``."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise Stuck(self._told("has ended")) from error
        return json.loads(self._wait_for(ANSWER, within_s).removeprefix(ANSWER))

    def cpu_s(self) -> float | None:
        return cpu_s(self._process.pid)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not end it."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
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


def cpu_s(root: int | None) -> float | None:
    """CPU seconds of a process and all its descendants that live; None if that cannot be known here."""
    if root is None or not _PROC.is_dir():
        return None
    used_by_parent: dict[int, list[tuple[int, float]]] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit() and (stat := _stat(folder)) is not None:
            used_by_parent.setdefault(stat[0], []).append((int(folder.name), stat[1]))
    own = _stat(_PROC / str(root))
    if own is None:
        return None
    total, parents = own[1], [root]
    while parents:
        for child, used in used_by_parent.get(parents.pop(), []):
            total += used
            parents.append(child)
    return total


def _stat(folder: Path) -> tuple[int, float] | None:
    """Parent and CPU seconds of a process; None if it is gone."""
    try:
        # The name, in parentheses, may hold anything; what follows it is plain.
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    parent, user, system = fields[1], fields[11], fields[12]
    return int(parent), (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
