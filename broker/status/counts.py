"""What the workers of this machine have done, by their own ``/metrics``.

No broker knows of a task whether it was done or failed: an ack is an ack. Workers count it, and serve it where
this machine may ask. So it is known of workers that run here, under this configuration.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from broker.config.http_settings import HttpSettings, ports
from broker.status.workers import WorkerStatus

#: What serves nothing within this is no worker, or one that is not well.
TIMEOUT_S = 1.0
#: Of a page; a worker's has some hundred bytes for each task.
_PAGE_BYTES = 4 * 1024 * 1024
_WORKER = re.compile(r'^glassrabbit_worker_info\{[^\n]*worker="([^"\\\n]+):(\d{1,10})"\} 1\.0$', re.MULTILINE)
_DELIVERIES = re.compile(
    r'^glassrabbit_worker_deliveries_total\{outcome="(done|retried|failed|refused)",[^\n]*\} '
    r"(\d{1,17}(?:\.\d{1,17})?(?:e\+\d\d)?)$",
    re.MULTILINE,
)


_BREAKER = re.compile(
    r'^glassrabbit_worker_breaker_state\{breaker="([a-z][a-z0-9_]{0,63})"\} ([12])\.0$', re.MULTILINE
)
_STATES = {"1": "half open", "2": "open"}


@dataclass(slots=True)
class Counts:
    """Deliveries of one worker since it started (done, tried again, and dead letters), and its breakers that
    are not closed."""

    done: int = 0
    retried: int = 0
    failed: int = 0
    breakers: Mapping[str, str] = field(default_factory=dict)


#: Host and process → what it counted.
Counted = Mapping[tuple[str, int], Counts]


async def counted(settings: HttpSettings) -> Counted:
    """Ask every port that workers of this configuration take one after the other. Raises nothing."""
    if not settings.enabled:
        return {}
    address = ipaddress.ip_address(settings.bind)
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    token = "" if settings.token is None else f"Authorization: Bearer {settings.token.get_secret_value()}\r\n"
    asked = [_page(str(address), port, token) for port in ports(settings.port)]
    return dict(found for page in await asyncio.gather(*asked) if (found := counts_of(page)) is not None)


def counts_of(page: str) -> tuple[tuple[str, int], Counts] | None:
    """Which worker this page is of, and its counts; None for what is no page of a worker."""
    named = _WORKER.search(page)
    if named is None:
        return None
    counts = Counts(breakers={name: _STATES[level] for name, level in _BREAKER.findall(page)})
    for outcome, value in _DELIVERIES.findall(page):
        column = "failed" if outcome == "refused" else outcome
        setattr(counts, column, getattr(counts, column) + int(float(value)))
    return (named[1], int(named[2])), counts


def with_counts(workers: Sequence[WorkerStatus], found: Counted) -> tuple[WorkerStatus, ...]:
    """The workers, with what is known of what they have done."""
    return tuple(
        worker
        if (counts := found.get((worker.host, worker.pid))) is None
        else replace(worker, **{column.name: getattr(counts, column.name) for column in fields(Counts)})
        for worker in workers
    )


async def _page(host: str, port: int, headers: str) -> str:
    """What is served there, if anything is."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET /metrics HTTP/1.0\r\n{headers}\r\n".encode())
                head, _, page = await _all_of(reader)
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return ""
    return page.decode(errors="replace") if b" 200 " in head.partition(b"\r\n")[0] else ""


async def _all_of(reader: asyncio.StreamReader) -> tuple[bytes, bytes, bytes]:
    """Head and body up to the end of the connection, or to the bound."""
    read = bytearray()
    while len(read) < _PAGE_BYTES and (piece := await reader.read(65536)):
        read += piece
    return bytes(read).partition(b"\r\n\r\n")
