"""Handlers that harm more than their own task."""

from __future__ import annotations

import os
import resource
import signal
import time

from tests.support.handlers import note

_MIB = 1 << 20


def kill_worker(journal: str | None = None) -> None:
    """End the process that holds the connection to the broker; this one goes with it."""
    note(journal)
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()


def starve(journal: str | None = None) -> int:
    """Ask for more memory than this process may have."""
    note(journal)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (512 * _MIB, hard))
    try:
        return len(bytearray(1024 * _MIB))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def hang(journal: str | None = None) -> None:
    """Wait for what never comes, deaf to a polite request to end."""
    note(journal)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


def nap(seconds: float = 0.05, journal: str | None = None) -> int:
    """Take a while; the attempt."""
    number = note(journal)
    time.sleep(seconds)
    return number
