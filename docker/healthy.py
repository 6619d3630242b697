"""Whether the worker of this container is healthy: exit 0 if it holds its two connections to the broker.

The kernel is asked, not the worker: which of its sockets are established to the broker's port. A worker that
is connected and does not consume ends that connection itself, so nothing more has to be asked. A container
without a worker (a dispatcher) has nothing that could be unhealthy.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

#: One to consume and ack, one to publish.
CONNECTIONS = 2
_PORTS = {"amqp": 5672, "amqps": 5671}
_ESTABLISHED = "01"


def main() -> str | None:
    """What is wrong, or None."""
    processes = worker_processes()
    if not processes:
        return None
    here = established(broker_ports(os.environ["BROKER_URL"]))
    held = sum(len(here & sockets(process)) for process in processes)
    return None if held >= CONNECTIONS else f"{held} of {CONNECTIONS} connections to the broker"


def worker_processes() -> list[Path]:
    """``python -m worker``, and the init that started it; not the children that run handlers."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            if b"\0-m\0worker\0" in (process / "cmdline").read_bytes():
                found.append(process)
    return found


def broker_ports(urls: str) -> set[int]:
    """The ports of a comma-separated list of AMQP URLs."""
    parts = [urlsplit(url.strip()) for url in urls.split(",") if url.strip()]
    return {part.port or _PORTS[part.scheme.lower()] for part in parts}


def established(ports: set[int]) -> set[str]:
    """The inodes of TCP sockets that are connected to one of these ports."""
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        if (path := Path("/proc/net", table)).exists()
        for line in path.read_text().splitlines()[1:]
    ]
    return {row[9] for row in rows if row[3] == _ESTABLISHED and int(row[2].rpartition(":")[2], 16) in ports}


def sockets(process: Path) -> set[str]:
    """The inodes of the sockets that a process holds."""
    links = [os.readlink(descriptor) for descriptor in (process / "fd").iterdir()]
    return {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}


if __name__ == "__main__":
    sys.exit(main())
