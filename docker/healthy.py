"""Whether the worker of this container is ready: exit 0 if its /readyz says so.

The kernel is asked where the worker listens, so that whatever the configuration says holds here too. A container
without a worker (a dispatcher) has nothing that could be unhealthy.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

TIMEOUT_S = 3.0
_LISTENS = "0A"
_FAMILIES = {"tcp": socket.AF_INET, "tcp6": socket.AF_INET6}
_WORD = 8
_WORKER = re.compile(rb"(\0-m|/glassrabbit|/start\.py)\0worker\0")


def main() -> str | None:
    """What is wrong, or None."""
    processes = worker_processes()
    if not processes:
        return None
    held = {inode for process in processes for inode in sockets(process)}
    answers = [answer(family, address, port) for family, address, port in listening(held)]
    if not answers:
        return "the worker does not listen: it has not started, or worker.http is not enabled"
    return None if any(text.split()[1:2] == ["200"] for text in answers) else "; ".join(map(last_line, answers))


def worker_processes() -> list[Path]:
    """``python -m worker`` or ``glassrabbit worker``, and the init that started it; not the children."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            if _WORKER.search((process / "cmdline").read_bytes()):
                found.append(process)
    return found


def sockets(process: Path) -> set[str]:
    """The inodes of the sockets that a process holds."""
    links = [os.readlink(descriptor) for descriptor in (process / "fd").iterdir()]
    return {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}


def listening(inodes: set[str]) -> Iterator[tuple[socket.AddressFamily, str, int]]:
    """Where those of these sockets listen that do."""
    for table, family in _FAMILIES.items():
        path = Path("/proc/net", table)
        for row in (line.split() for line in path.read_text().splitlines()[1:]) if path.exists() else ():
            if row[3] == _LISTENS and row[9] in inodes:
                address, _, port = row[1].partition(":")
                words = [int(address[at : at + _WORD], 16) for at in range(0, len(address), _WORD)]
                packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
                yield family, socket.inet_ntop(family, packed), int(port, 16)


def answer(family: socket.AddressFamily, address: str, port: int) -> str:
    """What /readyz says there. An address that stands for all of them leads to this machine."""
    with socket.socket(family) as link:
        link.settimeout(TIMEOUT_S)
        try:
            link.connect((address, port))
            link.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            with link.makefile(errors="replace") as stream:
                return stream.read()
        except OSError as error:
            return f"no answer from {address}:{port}: {error}"


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["an empty answer"])[-1]


if __name__ == "__main__":
    sys.exit(main())
