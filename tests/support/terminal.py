"""A terminal with a shell in it, and what a person does there: start a command, press Ctrl-C, close the window."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tests.support.workers import ROOT

#: Makes standard input the controlling terminal of a session, then is a shell with job control, and waits for it.
_SHELL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)
_WITHIN_S = 30.0


class Terminal:
    """``with Terminal(command, environment) as terminal``: a command in the foreground of a shell; ``python`` is
    the one that runs the tests."""

    def __init__(self, command: str, environment: Mapping[str, str]) -> None:
        self._ours, end = pty.openpty()
        self._text = ""
        self._news = threading.Condition()
        self._shell = subprocess.Popen(
            [sys.executable, "-c", _SHELL, "sh", "-mc", f"{command}; echo exit code $?"],
            cwd=ROOT,
            env={**environment, "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"},
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,
        )
        os.close(end)
        self._reader = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._reader.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        self._shell.kill()
        self._shell.wait()

    @property
    def pid(self) -> int:
        """Of the shell."""
        return self._shell.pid

    @property
    def text(self) -> str:
        """What it has shown so far."""
        with self._news:
            return self._text

    def wait_for(self, text: str, within_s: float = _WITHIN_S) -> None:
        with self._news:
            came = self._news.wait_for(lambda: text in self._text, within_s)
        assert came, f"{text!r} was not shown within {within_s:g} s: {self.text}"

    def interrupt(self) -> None:
        """Ctrl-C: the terminal sends SIGINT to the group in the foreground."""
        os.write(self._ours, b"\x03")

    def close(self) -> None:
        """Close the window: the terminal sends SIGHUP to the shell and to the group in the foreground."""
        if self._ours >= 0:
            # A thread that reads would keep it open.
            ours, self._ours = self._ours, -1
            os.write(ours, b"\n")
            os.close(ours)
            self._reader.join(_WITHIN_S)

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._ours, 1 << 16):
                with self._news:
                    self._text += data.decode("utf-8", "replace")
                    self._news.notify_all()
