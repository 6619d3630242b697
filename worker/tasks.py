"""The handlers that ship: two that only take time, and a few of the kinds that people really run."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import time
import urllib.request
from pathlib import Path
from typing import Any

from worker import Reject, Retry, current

_FETCH_LIMIT_BYTES = 64 * 1024
_ROWS_LIMIT = 1000


def task_a(
    seconds: float = 0.1,
    *,
    fail_times: int = 0,
    reject: bool = False,
    crash: bool = False,
    retry_after: float | None = None,
) -> dict[str, Any]:
    """Sleep, and end as told: fail the first ``fail_times`` attempts, be rejected, or kill the process."""
    attempt = current().attempt
    time.sleep(seconds)
    if crash:
        os.kill(os.getpid(), signal.SIGKILL)
    if reject:
        raise Reject("told to reject")
    if attempt <= fail_times:
        if retry_after is not None:
            raise Retry(f"attempt {attempt} asks for another", after=retry_after)
        raise RuntimeError(f"attempt {attempt} was told to fail")
    return {"slept": seconds, "attempt": attempt}


def task_b(seconds: float = 0.2, **options: Any) -> dict[str, Any]:
    """``task_a``, twice as slow, and in a queue of its own."""
    return task_a(seconds, **options)


def noop(data: Any = None) -> Any:
    """Return what was given: the cost of everything but the work."""
    return data


def sha256(path: str) -> dict[str, Any]:
    """Hash a file."""
    try:
        with Path(path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            return {"path": path, "sha256": digest.hexdigest(), "bytes": file.tell()}
    except FileNotFoundError as error:
        raise Reject(f"no such file: {path}") from error


def count_words(text: str) -> dict[str, int]:
    """Count lines, words and characters."""
    return {"lines": text.count("\n"), "words": len(text.split()), "characters": len(text)}


def sqlite_query(database: str, sql: str, parameters: list[Any] | None = None) -> list[list[Any]]:
    """Run one SELECT on a SQLite file, opened read-only; at most 1,000 rows."""
    uri = f"file:{urllib.request.pathname2url(str(Path(database).resolve()))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True)
    try:
        return [list(row) for row in connection.execute(sql, parameters or []).fetchmany(_ROWS_LIMIT)]
    finally:
        connection.close()


def fetch(url: str, timeout: float = 10.0) -> dict[str, Any]:
    """Fetch a URL by HTTP: its status and the first 64 KiB."""
    if not url.startswith(("http://", "https://")):
        raise Reject("only http and https")
    with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310 - checked above
        body = answer.read(_FETCH_LIMIT_BYTES)
        return {"status": answer.status, "bytes": len(body), "text": body.decode("utf-8", "replace")}


def burn(seconds: float = 1.0) -> int:
    """Keep one core busy; the number of rounds it managed."""
    end, rounds = time.process_time() + seconds, 0
    while time.process_time() < end:
        rounds += 1
    return rounds
