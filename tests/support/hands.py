"""Commands as people run them: a standard stream may be a terminal, closed, full, or a pipe without a reader."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType

from tests.support.workers import ROOT

WITHIN_S = 30.0
#: Rows and columns of a terminal.
SCREEN = (24, 80)
_LAST_WORDS_S = 2.0
#: Of the one who runs the tests. PYTHONUNBUFFERED would hide what a buffer does at the end of a command.
_NOT_PASSED_ON = {"PYTHONUNBUFFERED", "PYTHONIOENCODING", "PYTHONUTF8", "LC_ALL", "LC_CTYPE", "LANG", "NO_COLOR"}
_END_OF_INPUT = b"\x04"


class In(StrEnum):
    """Where standard input comes from."""

    PIPE = "pipe"
    TERMINAL = "terminal"
    CLOSED = "closed"


class Out(StrEnum):
    """Where standard output, or standard error, goes to."""

    PIPE = "pipe"
    TERMINAL = "terminal"
    CLOSED = "closed"
    #: A disk that is full.
    FULL = "full"
    #: A pipe that is full, and that nobody reads.
    UNREAD = "unread"
    #: A pipe whose reader has gone.
    BROKEN = "broken"


class Locale(StrEnum):
    """What the environment says of characters."""

    UTF8 = "utf-8"
    LATIN1 = "latin-1"
    ASCII = "ascii"

    @property
    def variables(self) -> dict[str, str]:
        match self:
            case Locale.UTF8:
                return {"LC_ALL": "C.UTF-8"}
            case Locale.LATIN1:
                # As under en_US.ISO-8859-1, which few machines have.
                return {
                    "LC_ALL": "C",
                    "PYTHONIOENCODING": "latin-1",
                    "PYTHONUTF8": "0",
                    "PYTHONCOERCECLOCALE": "0",
                }
            case Locale.ASCII:
                return {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@dataclass(frozen=True)
class Streams:
    """The three streams of a command, and its locale."""

    stdin: In = In.PIPE
    stdout: Out = Out.PIPE
    stderr: Out = Out.PIPE
    locale: Locale = Locale.UTF8

    def __str__(self) -> str:
        return f"<{self.stdin} >{self.stdout} 2>{self.stderr} {self.locale}"


class Hand:
    """``with Hand(words, environment, streams) as hand``: a command, from its start until the end of the block.

    ``words`` follow the interpreter: ``["-m", "dispatcher", "call", …]``, or are a command of their own if
    ``interpreter`` is empty. What it writes to a pipe or a terminal is read all the time.
    """

    def __init__(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        streams: Streams = Streams(),
        *,
        stdin: bytes = b"",
        cwd: Path = ROOT,
        interpreter: Sequence[str] = (sys.executable,),
    ) -> None:
        self._started_s = time.monotonic()
        self._read: dict[str, bytearray] = {"out": bytearray(), "err": bytearray()}
        self._news = threading.Condition()
        self._readers: list[threading.Thread] = []
        self._ours = ExitStack()
        self._unread: dict[str, int] = {}
        own = {name: value for name, value in environment.items() if name not in _NOT_PASSED_ON}
        with ExitStack() as theirs:
            in_, out, err = (
                self._input(streams.stdin, stdin, theirs),
                self._output("out", streams.stdout, theirs),
                self._output("err", streams.stderr, theirs),
            )
            closed = [text for text, end in (("<&-", in_), (">&-", out), ("2>&-", err)) if end is None]
            self.process = subprocess.Popen(
                ["sh", "-c", f'exec "$@" {" ".join(closed)}', "sh", *interpreter, *words],
                cwd=cwd,
                env={**own, **streams.locale.variables, "TERM": "xterm"},
                stdin=subprocess.DEVNULL if in_ is None else in_,
                stdout=subprocess.DEVNULL if out is None else out,
                stderr=subprocess.DEVNULL if err is None else err,
                # A group of its own, so that the end of the block ends what it has started, too.
                start_new_session=True,
            )

    def __enter__(self) -> Hand:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for reader in self._readers:
            reader.join(_LAST_WORDS_S)
        self._ours.close()
        for end in self._unread.values():
            os.close(end)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def out(self) -> bytes:
        """What it has written to standard output so far, if that is a pipe or a terminal."""
        with self._news:
            return bytes(self._read["out"])

    @property
    def err(self) -> str:
        """The same of standard error."""
        with self._news:
            return self._read["err"].decode("utf-8", "backslashreplace")

    def said(self, text: str, within_s: float = WITHIN_S) -> None:
        """Return as soon as standard error has this text."""
        with self._news:
            came = self._news.wait_for(lambda: text.encode() in self._read["err"], within_s)
        assert came, f"it did not say {text!r} within {within_s:g} s: {self.err}"

    def read_at_last(self) -> None:
        """Read what nobody has read so far, and from now on all."""
        for name, end in self._unread.items():
            self._listen(name, end)
        self._unread.clear()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, within_s: float = WITHIN_S) -> Ended:
        """Wait for its end, and for what it wrote."""
        try:
            code = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {within_s:g} s; {self.out!r} {self.err}") from None
        wall_s = time.monotonic() - self._started_s
        for reader in self._readers:
            reader.join(_LAST_WORDS_S)
        return Ended(code, self.out, self.err, wall_s)

    def _input(self, kind: In, content: bytes, theirs: ExitStack) -> int | None:
        if kind is In.CLOSED:
            return None
        if kind is In.TERMINAL:
            other, end = self._terminal(theirs)
            # Nobody reads it: it does not echo.
            self._ours.callback(os.close, other)
            os.write(other, content + _END_OF_INPUT)
            return end
        end, other = os.pipe()
        theirs.callback(os.close, end)
        threading.Thread(target=_write, args=(other, content), daemon=True).start()
        return end

    def _output(self, name: str, kind: Out, theirs: ExitStack) -> int | None:
        match kind:
            case Out.CLOSED:
                return None
            case Out.TERMINAL:
                other, end = self._terminal(theirs)
                self._listen(name, other)
                return end
            case Out.FULL:
                end = os.open("/dev/full", os.O_WRONLY)
            case Out.PIPE:
                other, end = os.pipe()
                self._listen(name, other)
            case Out.BROKEN:
                other, end = os.pipe()
                os.close(other)
            case Out.UNREAD:
                other, end = os.pipe()
                self._unread[name] = other
                _fill(end)
        theirs.callback(os.close, end)
        return end

    def _terminal(self, theirs: ExitStack) -> tuple[int, int]:
        """Our side and that of the command. It echoes nothing, and leaves the ends of lines as they are."""
        ours, end = pty.openpty()
        theirs.callback(os.close, end)
        modes = termios.tcgetattr(end)
        modes[1] &= ~termios.OPOST
        modes[3] &= ~termios.ECHO
        termios.tcsetattr(end, termios.TCSANOW, modes)
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", *SCREEN, 0, 0))
        return ours, end

    def _listen(self, name: str, end: int) -> None:
        self._readers.append(threading.Thread(target=self._keep, args=(name, end), daemon=True))
        self._readers[-1].start()

    def _keep(self, name: str, end: int) -> None:
        # The end of a terminal that nobody holds any more is an error.
        with suppress(OSError):
            while data := os.read(end, 1 << 16):
                with self._news:
                    self._read[name] += data
                    self._news.notify_all()
        os.close(end)


def _write(end: int, content: bytes) -> None:
    with suppress(BrokenPipeError), os.fdopen(end, "wb") as pipe:
        pipe.write(content)


def _fill(end: int) -> None:
    """Until a write would wait."""
    os.set_blocking(end, False)
    with suppress(BlockingIOError):
        while True:
            os.write(end, b" " * select.PIPE_BUF)
    os.set_blocking(end, True)


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: bytes
    err: str
    wall_s: float


def hand(
    words: Sequence[str],
    environment: Mapping[str, str],
    streams: Streams = Streams(),
    *,
    stdin: bytes = b"",
    cwd: Path = ROOT,
    within_s: float = WITHIN_S,
) -> Ended:
    """Run ``python WORDS…`` to its end. It has to come within the time."""
    with Hand(words, environment, streams, stdin=stdin, cwd=cwd) as running:
        return running.wait(within_s)
