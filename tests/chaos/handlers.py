"""The handlers of a campaign. Each writes ``Started`` before anything and ``Finished`` as the last thing.

A handler that crashes writes no ``Finished``. The two that do must run in the ``process`` executor. Results tell
their attempt, so that a reply can be matched to the run that it comes from.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tests.chaos.records import Ending, Finished, Ledger, Started
from tests.chaos.workload import digest_of
from worker import Reject, Retry, current

#: A child is a process of its own, and its parent holds the connection; in the other executors we do.
_IN_CHILD = sys.argv[1:2] == ["worker.execution.child_main"]
#: Read once: whoever has lost its parent gets another one.
WORKER = os.getppid() if _IN_CHILD else os.getpid()


def ok(key: str, payload: str) -> dict[str, Any]:
    _started(key, payload=payload)
    return _done(key, payload)


def slow(key: str, seconds: float) -> dict[str, Any]:
    """Take a while."""
    _started(key, seconds=seconds)
    time.sleep(seconds)
    return _done(key)


def large(key: str, payload: str) -> dict[str, Any]:
    """Give back as much as came."""
    _started(key, payload=payload)
    return _done(key, payload)


def fails(key: str, times: int, asks: bool) -> dict[str, Any]:
    """Fail the first ``times`` attempts: raise an error, or ask for a retry by the task's backoff."""
    _started(key, times=times, asks=asks)
    if current().attempt > times:
        return _done(key)
    if asks:
        _finished(key, "retry")
        raise Retry
    _finished(key, "failed")
    raise RuntimeError("it fails as often as it was told to")


def always(key: str) -> None:
    """Fail every attempt."""
    _started(key)
    _finished(key, "failed")
    raise RuntimeError("it always fails")


def rejects(key: str) -> None:
    _started(key)
    _finished(key, "rejected")
    raise Reject("it is always rejected")


def crashes_child(key: str, times: int) -> dict[str, Any]:
    """Kill the process that runs it, at the first ``times`` attempts."""
    _started(key, times=times)
    if current().attempt <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return _done(key)


def crashes_worker(key: str) -> None:
    """Kill the process that holds the worker's connection, at every attempt; this one goes with it."""
    _started(key)
    # A worker that has died by itself meanwhile has left its number to whoever comes next.
    if not _IN_CHILD or os.getppid() == WORKER:
        os.kill(WORKER, signal.SIGKILL)
    signal.pause()


@functools.cache
def _ledger() -> Ledger:
    return Ledger(Path(os.environ["CHAOS_LEDGER"]), "handler")


def _started(key: str, **further: Any) -> None:
    task = current()
    _ledger().write(
        Started(
            key=key,
            id=task.id,
            attempt=task.attempt,
            worker=WORKER,
            pid=os.getpid(),
            digest=digest_of({"key": key, **further}),
        )
    )


def _done(key: str, payload: str = "") -> dict[str, Any]:
    result = {"key": key, "attempt": current().attempt, "payload": payload}
    _finished(key, "done", digest_of(result))
    return result


def _finished(key: str, ending: Ending, digest: str = "") -> None:
    task = current()
    _ledger().write(
        Finished(key=key, id=task.id, attempt=task.attempt, pid=os.getpid(), ending=ending, digest=digest)
    )
