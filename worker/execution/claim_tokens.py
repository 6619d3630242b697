"""Claim tokens: what a child takes before it begins a call, and what its worker can take back until then.

They are four bytes each on a stream socket that both of them read. Two reads of one socket do not mix, so a
token has one taker (https://man7.org/linux/man-pages/man7/unix.7.html): what the worker gets back was not begun,
and never will be.
"""

from __future__ import annotations

import contextlib
import socket

from worker.execution import child_protocol as frames

_READ_BYTES = 1 << 16


class ClaimTokens:
    """One token for each call, numbered from 0. Both ends of their socket are held here as well."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair()
        self._granted = bytearray()
        #: Of the next call.
        self.number = 0

    def grant(self, count: int) -> None:
        for _ in range(count):
            self._granted += frames.TOKEN.pack(self.number)
            self.number = (self.number + 1) % frames.NUMBERS

    def renew(self, number: int) -> None:
        """Grant a token that was taken back once more."""
        self._granted += frames.TOKEN.pack(number)
        self.send()

    def send(self) -> None:
        with contextlib.suppress(OSError):
            self._ours.sendall(self._granted)
        self._granted.clear()

    def take_back(self) -> int:
        """How many tokens the child had not taken; they are void."""
        count = len(self._granted)
        self._granted.clear()
        with contextlib.suppress(OSError):
            while data := self.theirs.recv(_READ_BYTES, socket.MSG_DONTWAIT):
                count += len(data)
        return count // frames.TOKEN.size

    def close(self) -> None:
        self._ours.close()
        self.theirs.close()
