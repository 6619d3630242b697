"""Whether the worker of this container is ready: exit 0 if its /readyz says so.

The kernel is asked where the worker listens, so that whatever the configuration says holds here too. If the worker
asks for a token, it is taken from where the worker has it: the environment, or else its configuration. A container
without a worker (a dispatcher) has nothing that could be unhealthy.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

TIMEOUT_S = 3.0
_LISTENS = "0A"
_FAMILIES = {"tcp": socket.AF_INET, "tcp6": socket.AF_INET6}
_WORD = 8
_TOKEN = "GLASSRABBIT__WORKER__HTTP__TOKEN"
_ASK = """
import sys
from broker.config.loader import load
token = load(*sys.argv[1:]).worker.http.token
print(token.get_secret_value() if token else "")
"""
_WORKER = re.compile(rb"(\0-m|/glassrabbit|/start\.py)\0worker\0")


def main() -> str | None:
    """What is wrong, or None."""
    processes = worker_processes()
    if not processes:
        return None
    held = {inode for process in processes for inode in sockets(process)}
    places = list(listening(held))
    answers = [answer(*place, token_in_environment()) for place in places]
    if any(text.split()[1:2] == ["401"] for text in answers):
        answers = [answer(*place, token_in_configuration(processes[-1])) for place in places]
    if not answers:
        return "the worker does not listen: it has not started, or worker.http is not enabled"
    return None if any(text.split()[1:2] == ["200"] for text in answers) else "; ".join(map(last_line, answers))


def worker_processes() -> list[Path]:
    """``python -m worker`` or ``glassrabbit worker``, and the init that started it; not the children, nor what
    other containers run that share the numbers of their processes with this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # ended meanwhile, or not ours
            if _WORKER.search((process / "cmdline").read_bytes()) and files(process) == files(Path("/proc/self")):
                found.append(process)
    return found


def files(process: Path) -> str:
    """The namespace of the files that a process sees: each container has its own."""
    return os.readlink(process / "ns" / "mnt")


def sockets(process: Path) -> set[str]:
    """The inodes of the sockets that a process holds."""
    links = []
    for descriptor in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(descriptor))
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


def token_in_environment() -> str:
    """The token, if the environment holds it or names a file that does."""
    file = os.environ.get(_TOKEN + "_FILE")
    return Path(file).read_text().strip() if file else os.environ.get(_TOKEN, "").strip()


def token_in_configuration(worker: Path) -> str:
    """The same by the configuration of the worker, which takes a new Python half a second to read."""
    words = (worker / "cmdline").read_bytes().decode(errors="replace").split("\0")
    named = [after for before, after in pairwise(words) if before in ("-c", "--config")]
    named += [word.removeprefix("--config=") for word in words if word.startswith("--config=")]
    command = [sys.executable, "-P", "-c", _ASK, *named[-1:]]
    asked = subprocess.run(command, cwd=worker / "cwd", capture_output=True, text=True, timeout=TIMEOUT_S)
    return asked.stdout.strip()


def answer(family: socket.AddressFamily, address: str, port: int, token: str) -> str:
    """What /readyz says there. An address that stands for all of them leads to this machine."""
    with socket.socket(family) as link:
        link.settimeout(TIMEOUT_S)
        try:
            link.connect((address, port))
            header = f"Authorization: Bearer {token}\r\n" if token else ""
            link.sendall(f"GET /readyz HTTP/1.0\r\n{header}\r\n".encode())
            with link.makefile(errors="replace") as stream:
                return stream.read()
        except OSError as error:
            return f"no answer from {address}:{port}: {error}"


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["an empty answer"])[-1]


if __name__ == "__main__":
    sys.exit(main())
