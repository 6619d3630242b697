"""What every private broker has in common: what is known of it, when it is ready, and its guard."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from broker.errors import Unreachable

LOOPBACK = "127.0.0.1"
POLL_S = 0.05
_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01"


class NodeError(Unreachable):
    """A private node could not be had, or is not what it should be any more."""


@dataclass(frozen=True)
class NodeInfo:
    """A running node. ``url`` and ``password`` are secrets and do not show in ``repr``."""

    user: str
    password: str = field(repr=False)
    host: str
    port: int
    management_port: int
    prometheus_port: int
    #: The broker's process; None if it runs in a container.
    pid: int | None
    #: Everything that the node writes; None if it runs in a container.
    folder: Path | None

    @property
    def url(self) -> str:
        """With the password: never print it but where a person asked for it."""
        return f"amqp://{quote(self.user, safe='')}:{quote(self.password, safe='')}@{self._place}/"

    @property
    def redacted_url(self) -> str:
        return f"amqp://{quote(self.user, safe='')}:***@{self._place}/"

    @property
    def management_url(self) -> str:
        return f"http://{LOOPBACK}:{self.management_port}"

    @property
    def prometheus_url(self) -> str:
        return f"http://{LOOPBACK}:{self.prometheus_port}/metrics"

    @property
    def _place(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class PrivateNode(Protocol):
    """A broker of our own, by whatever means."""

    @property
    def info(self) -> NodeInfo:
        """What is running. Raises NodeError before ``start``."""

    def start(self, timeout_s: float = 60) -> NodeInfo:
        """Start it and wait until it is ready. Raises NodeError, and then nothing is left behind."""

    def kill(self) -> None:
        """End the broker at once, as a power cut would. Its data stay."""

    def restart(self, timeout_s: float = 60) -> NodeInfo:
        """Start the killed broker again on the same data, ports and login, and wait until it is ready."""

    def wait(self) -> None:
        """Return when the broker has ended by itself, or was killed."""

    def stop(self) -> None:
        """End it and remove all of it. Bounded; does nothing the second time."""


class Guard:
    """Cleans up for a process that has no time to: runs ``script`` when this process is gone.

    It waits on a pipe that the kernel closes however we end, by SIGTERM and SIGKILL too, and a Ctrl-C at
    the terminal does not reach it.
    """

    def __init__(self, script: str, *arguments: str) -> None:
        command = ["/bin/sh", "-c", f"read -r _\n{script}", "glassrabbit-guard", *arguments]
        quiet = subprocess.DEVNULL
        self._shell = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, cwd="/", start_new_session=True
        )

    def dismiss(self) -> None:
        """All is cleaned up already."""
        self._shell.send_signal(signal.SIGKILL)
        self._shell.wait()
        if self._shell.stdin:
            self._shell.stdin.close()


def reachable_host(bind: str | None) -> str:
    """Where this machine reaches a listener on ``bind``: an address for *all* is none to connect to."""
    return {None: LOOPBACK, "0.0.0.0": LOOPBACK, "::": "::1"}.get(bind, bind or LOOPBACK)


def await_ready(info: NodeInfo, timeout_s: float, problem: Callable[[], str | None]) -> None:
    """Return once AMQP answers a handshake and the management API answers 200 to our login.

    Raises NodeError as soon as ``problem`` says what is wrong, or after ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    checks = [_amqp_answers, _management_answers]
    while checks:
        if checks[0](info):
            checks.pop(0)
        elif text := problem():
            raise NodeError(text)
        elif time.monotonic() > deadline:
            raise NodeError(f"the private broker was not ready after {timeout_s:g} s; allow it more time")
        else:
            time.sleep(POLL_S)


def _amqp_answers(info: NodeInfo) -> bool:
    try:
        with socket.create_connection((info.host, info.port), timeout=1) as link:
            link.sendall(_PROTOCOL_HEADER)
            return link.recv(1) == _METHOD_FRAME
    except OSError:
        return False


def _management_answers(info: NodeInfo) -> bool:
    login = b64encode(f"{info.user}:{info.password}".encode()).decode()
    # http.client and not urllib.request: a proxy in the environment is none of our business on loopback.
    link = http.client.HTTPConnection(LOOPBACK, info.management_port, timeout=1)
    try:
        link.request("GET", "/api/overview", headers={"Authorization": f"Basic {login}"})
        return link.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()
