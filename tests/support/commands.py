"""Commands of ours as a shell runs them: ``python -m MODULE …``, each with a deadline."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tests.support.waiting import patiently
from tests.support.workers import ROOT, ends

_WITHIN_S = 30.0


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str
    wall_s: float

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Its standard output as lines of JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


def command(
    environment: Mapping[str, str],
    module: str,
    *arguments: str,
    stdin: str | bytes = b"",
    within_s: float = _WITHIN_S,
    cwd: Path = ROOT,
) -> Ended:
    """Run ``python -m MODULE ARGUMENT…`` to its end, with the code of ``cwd``.

    Raises ``TimeoutExpired``, after a SIGKILL.
    """
    return _run([sys.executable, "-m", module, *arguments], environment, stdin, within_s, cwd)


def piped(environment: Mapping[str, str], line: str, within_s: float = _WITHIN_S) -> Ended:
    """Run ``python -m LINE`` in bash, where it may end in a pipe. The code is that of our own command."""
    script = f"{sys.executable} -m {line}; exit ${{PIPESTATUS[0]}}"
    return _run(["bash", "-c", script], environment, b"", within_s)


def _run(
    words: list[str], environment: Mapping[str, str], stdin: str | bytes, within_s: float, cwd: Path = ROOT
) -> Ended:
    started_s = time.monotonic()
    process = subprocess.Popen(
        words,
        cwd=cwd,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A group of its own, so that the deadline ends what a shell has started, too.
        start_new_session=True,
    )
    with process:
        inputs = [stdin.encode() if isinstance(stdin, str) else stdin]

        def communicate(for_s: float) -> tuple[bytes, bytes] | None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.communicate(inputs.pop() if inputs else None, for_s)
            return None

        ended = patiently(communicate, within_s)
        if ended is None:
            os.killpg(process.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(words, within_s)
        out, err = ended
    return Ended(process.returncode, out.decode(), err.decode(), time.monotonic() - started_s)


class Running:
    """``with Running(environment, module, …) as running``: a command that is talked to while it runs.

    It is ended by SIGKILL at the end of the block if it still runs then.
    """

    def __init__(self, environment: Mapping[str, str], module: str, *arguments: str, cwd: Path = ROOT) -> None:
        self._started_s = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._news = threading.Condition()
        self._out: list[str] = []
        self._err: list[str] = []
        assert self._process.stdout
        assert self._process.stderr
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self._process.stdout, self._out), (self._process.stderr, self._err))
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.wait()
        self.end_input()

    @property
    def pid(self) -> int:
        return self._process.pid

    def write(self, text: str) -> None:
        """To its standard input."""
        assert self._process.stdin
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def end_input(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()

    def lines(self, count: int, within_s: float = _WITHIN_S) -> list[str]:
        """What it has written to standard output, once that is at least ``count`` lines."""
        self._await(lambda: len(self._out) >= count, f"{count} lines", within_s)
        return list(self._out)

    def says(self, text: str, within_s: float = _WITHIN_S) -> None:
        """Wait for a text on its standard output or standard error."""
        self._await(lambda: text in "".join((*self._out, *self._err)), repr(text), within_s)

    def _await(self, is_there: Callable[[], bool], what: str, within_s: float) -> None:
        with self._news:
            came = patiently(lambda for_s: self._news.wait_for(is_there, for_s), within_s)
            assert came, f"not {what} within {within_s:g} s: {self._out} {self._err}"

    def sigint(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def sigkill(self) -> None:
        self._process.kill()

    def wait(self, within_s: float = _WITHIN_S) -> Ended:
        """Wait for its end."""
        patiently(lambda for_s: ends(self._process, for_s), within_s)
        code = self._process.wait(0)
        for reader in self._readers:
            reader.join(within_s)
        return Ended(code, "".join(self._out), "".join(self._err), time.monotonic() - self._started_s)

    def _read(self, pipe: IO[str], into: list[str]) -> None:
        with pipe:
            for line in pipe:
                with self._news:
                    into.append(line)
                    self._news.notify_all()
