"""A descriptor that text for people goes to, whose writers need not wait and hear of no error.

Nobody may read the pipe, the disk may be full, the terminal gone: work goes on. Lines that are not taken are left
out and counted, and the log says how many as soon as it can.
"""

from __future__ import annotations

import atexit
import io
import os
import select
import threading
import time
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: What waits for its reader at most.
MOST_BYTES = 1 << 20
#: For what waits at the end of the process; and, where no thread writes, for room, until there was none.
PATIENCE_S = 1.0


class Outlet(io.RawIOBase):
    """Written to by a thread of its own; in a fork, and where ``threaded`` is False, by the writer itself.

    The latter waits up to a second for room: for a process that may end at any moment, and should have said by
    then what it had to say.
    """

    def __init__(self, descriptor: int, *, threaded: bool) -> None:
        self._descriptor = descriptor
        self._blocks: SimpleQueue[bytes] = SimpleQueue()
        self._waiting = 0
        #: Lines that were not taken, and of which the log has not said so yet.
        self.lost = 0
        self._thread: threading.Thread | None = None
        self._write_directly()
        self._threaded = threaded
        os.register_at_fork(after_in_child=self._write_directly)
        atexit.register(self._finish)

    def _write_directly(self) -> None:
        """In a fork there is no thread, and perhaps a lock that nobody gives back."""
        self._lock, self._threaded, self._waiting = threading.Lock(), False, 0

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: ReadableBuffer, /) -> int:
        block = bytes(data)
        if not self._threaded:
            self._account(0, self._put(block, 0.0 if self.lost else PATIENCE_S))
            return len(block)
        with self._lock:
            if self._waiting + len(block) > MOST_BYTES:
                self.lost += block.count(b"\n")
                return len(block)
            self._waiting += len(block)
            self._blocks.put(block)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="standard error", daemon=True)
                self._thread.start()
        return len(block)

    def _run(self) -> None:
        while True:
            block = self._blocks.get()
            self._account(len(block), self._put(block, None))

    def _put(self, block: bytes, patience_s: float | None) -> int:
        """Write it, in pieces that a pipe with room takes; the number of lines that were not taken."""
        left = memoryview(block)
        with suppress(OSError):
            while left and select.select([], [self._descriptor], [], patience_s)[1]:
                with suppress(BlockingIOError):
                    left = left[os.write(self._descriptor, left[: select.PIPE_BUF]) :]
        return bytes(left).count(b"\n")

    def _account(self, size: int, lost: int) -> None:
        with self._lock:
            self._waiting -= size
            self.lost += lost
            if lost or not self.lost or self._waiting > MOST_BYTES // 2:
                return
            lost, self.lost = self.lost, 0
        import logging

        logging.getLogger("glassrabbit").warning("%d lines could not be written to standard error", lost)

    def _finish(self) -> None:
        """At the end of the process: wait a little for what waits."""
        deadline_s = time.monotonic() + PATIENCE_S
        while self._waiting and time.monotonic() < deadline_s:
            time.sleep(0.002)
        self._threaded = False
