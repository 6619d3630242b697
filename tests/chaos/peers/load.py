"""The load of the peers: the same stream of requests, and the same ledgers, as our own requesters and handlers.

Runs in the peers' environment, so it imports nothing of Glassrabbit but the campaign's records and workload.
"""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.chaos import workload
from tests.chaos.records import Asked, Ending, Finished, Kind, Ledger, Started, Told
from tests.chaos.workload import Request, digest_of

KINDS: tuple[Kind, ...] = ("ok", "slow", "large", "fails")
BACKOFF_S = (0.5, 1.0, 2.0)
MAX_ATTEMPTS = 4
_WITHIN_S = 90.0


class ToldToFail(Exception):
    """The task fails as often as it was told to."""


@functools.cache
def _ledger_of(_pid: int) -> Ledger:
    """One file a process: a fork has one of its own."""
    return Ledger(Path(os.environ["CHAOS_LEDGER"]), "peer")


def perform(kind: str, task_id: str, attempt: int, worker: int, arguments: dict[str, Any]) -> dict[str, Any]:
    """What our own handlers do, with the same entries in the ledger. Raises ``ToldToFail``."""
    key, notes, pid = str(arguments["key"]), _ledger_of(os.getpid()), os.getpid()
    digest = digest_of(arguments)
    notes.write(Started(key=key, id=task_id, attempt=attempt, worker=worker, pid=pid, digest=digest))

    def finished(ending: Ending, result: str = "") -> None:
        notes.write(Finished(key=key, id=task_id, attempt=attempt, pid=pid, ending=ending, digest=result))

    time.sleep(float(arguments.get("seconds", 0.0)))
    if kind == "fails" and attempt <= int(arguments["times"]):
        finished("failed")
        raise ToldToFail
    payload = arguments.get("payload", "") if kind in ("ok", "large") else ""
    result = {"key": key, "attempt": attempt, "payload": payload}
    finished("done", digest_of(result))
    return result


def ask_all(send: Callable[[Request], str], outages: tuple[type[Exception], ...]) -> None:
    """Ask at the rate of the command line. ``send`` returns an id once the task counts as sent for its caller;
    what it raises of ``outages`` leaves it unknown."""
    options = _arguments()
    shares = {kind: share for kind, share in workload.SHARES.items() if kind in KINDS}
    names = {kind: [f"chaos.{kind}"] for kind in KINDS}
    notes, end = _ledger_of(os.getpid()), time.monotonic() + options.seconds
    for request in workload.requests(options.seed, "peer", names, shares, MAX_ATTEMPTS):
        if time.monotonic() > end:
            return
        if request.task != workload.UNKNOWN_NAME:
            _ask(notes, request, send, outages)
        time.sleep(1 / options.rate)


def _ask(
    notes: Ledger, request: Request, send: Callable[[Request], str], outages: tuple[type[Exception], ...]
) -> None:
    notes.write(
        Asked(
            key=request.key,
            kind=request.kind,
            requester="peer",
            mode="nobody",
            within_s=_WITHIN_S + request.delay_s,
            digest=digest_of(request.arguments),
            delay_s=request.delay_s,
            failures=request.failures,
        )
    )
    try:
        task_id = send(request)
    except outages as error:
        notes.write(Told(key=request.key, id="", answer="unknown", text=type(error).__name__))
    else:
        notes.write(Told(key=request.key, id=task_id, answer="accepted"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    return parser.parse_args()
