"""A private RabbitMQ node: started from the scripts on this machine, for us alone, and removed without trace.

It shares nothing with a system broker: own ports, cookie, Erlang port mapper, folders and home. Root and
an ordinary user can run any number of them. ``private_node`` is the way in; it takes Docker where there
is no RabbitMQ.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from broker.node import files as node_files
from broker.node.ready import (
    LOOPBACK,
    POLL_S,
    Guard,
    NodeError,
    NodeInfo,
    PrivateNode,
    await_ready,
)

__all__ = ["Node", "NodeError", "NodeInfo", "PrivateNode", "new_node", "private_node"]

_END_S = 5.0
_LOG_LINES = 15
# $1: process group, $2: folder. Bounded, since nobody may reap what has died.
_CLEAN_UP = """
i=0
while kill -s KILL -- "-$1" && [ $i -lt 20 ]; do i=$((i+1)); sleep 0.1; done
rm -rf -- "$2"
"""


class Node:
    """A node on loopback with the user ``guest``, or with AMQP on ``bind`` and a generated password.

    ``config`` are further lines of ``rabbitmq.conf``. One node is one life: start, any number of
    kill and restart, stop.
    """

    def __init__(self, *, port: int | None = None, bind: str | None = None, config: Sequence[str] = ()) -> None:
        self._port = port
        self._bind = bind
        self._config = tuple(config)
        self._folder: Path | None = None
        self._environment: dict[str, str] = {}
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None
        self._info: NodeInfo | None = None

    @property
    def info(self) -> NodeInfo:
        if self._info is None:
            raise NodeError("the private node is not running; start it first")
        return self._info

    def start(self, timeout_s: float = 60) -> NodeInfo:
        """Start it and wait until it is ready. Raises NodeError, and then nothing is left behind."""
        script, epmd = _programs()
        ports = node_files.pick_ports(self._port, self._bind)
        login = node_files.login_for(self._bind)
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="glassrabbit-"))
            self._environment = node_files.environment(self._folder, ports, self._bind)
            node_files.write_files(self._folder, node_files.config_text(ports, login, self._config))
            self._start_epmd(epmd, ports.epmd)
            self._info = node_files.info_of(ports, login, self._bind, self._folder)
            return self._start_server(script, timeout_s)
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """SIGKILL to the Erlang VM; returns when it is gone. Its data and its ports stay ours."""
        server = self._running()
        server.kill()
        server.wait(_END_S)

    def restart(self, timeout_s: float = 60) -> NodeInfo:
        """Start the killed broker again on the same data, ports and login, and wait until it is ready."""
        return self._start_server(_programs()[0], timeout_s)

    def wait(self) -> None:
        """Return when the broker has ended by itself, or was killed."""
        self._running().wait()

    def stop(self) -> None:
        """End all its processes at once and remove its folder. Does nothing the second time.

        The broker gets no time to write: what it would write is thrown away.
        """
        if self._epmd is not None:
            # Every process of ours is in epmd's group; Erlang's own helpers end with the VM.
            os.killpg(self._epmd.pid, signal.SIGKILL)
            for process in filter(None, (self._server, self._epmd)):
                process.wait(_END_S)
        if self._folder is not None:
            shutil.rmtree(self._folder)
        if self._guard is not None:
            self._guard.dismiss()
        self._epmd = self._server = self._guard = self._folder = self._info = None

    def ctl(self, *arguments: str, timeout_s: float = 60) -> str:
        """What ``rabbitmqctl ARGUMENTS`` prints for this node. Slow: it starts a VM."""
        command = [str(_programs()[0].with_name("rabbitmqctl")), *arguments]
        try:
            done = subprocess.run(
                command, env=self._environment, capture_output=True, text=True, timeout=timeout_s, check=True
            )
        except subprocess.TimeoutExpired as error:
            raise NodeError(f"rabbitmqctl did not end within {timeout_s:g} s; is the node alive?") from error
        except subprocess.CalledProcessError as error:
            raise NodeError(f"rabbitmqctl failed; correct the call: {error.stderr.strip()}") from error
        return done.stdout

    def _running(self) -> subprocess.Popen[bytes]:
        if self._server is None:
            raise NodeError("the private node is not running; start it first")
        return self._server

    def _start_epmd(self, program: Path, port: int) -> None:
        """Our own, as our child: the one that Erlang would start makes itself a daemon that nobody ends."""
        assert self._folder is not None
        quiet = subprocess.DEVNULL
        with _undisturbed():
            self._epmd = subprocess.Popen(
                [str(program), "-address", LOOPBACK, "-port", str(port)],
                env=self._environment, cwd="/", stdin=quiet, stdout=quiet, stderr=quiet, process_group=0,
            )  # fmt: skip
            self._guard = Guard(_CLEAN_UP, str(self._epmd.pid), str(self._folder))
        deadline = time.monotonic() + _END_S
        while not _listens(port):
            if self._epmd.poll() is not None or time.monotonic() > deadline:
                raise NodeError(f"Erlang's epmd does not listen on port {port}; try again")
            time.sleep(POLL_S / 10)

    def _start_server(self, script: Path, timeout_s: float) -> NodeInfo:
        assert self._epmd is not None
        info = self.info
        assert info.folder is not None
        with (info.folder / "log" / "console").open("ab") as console:
            self._server = subprocess.Popen(
                [str(script)], env=self._environment, cwd=info.folder, stdin=subprocess.DEVNULL,
                stdout=console, stderr=console, process_group=self._epmd.pid,
            )  # fmt: skip
        await_ready(info, timeout_s, self._problem)
        self._info = info = replace(info, pid=self._server.pid)
        return info

    def _problem(self) -> str | None:
        """Why the node will never be ready, or None."""
        assert self._server is not None
        code = self._server.poll()
        if code is None:
            return None
        return f"the private broker ended with status {code}; its last words say why:\n{self._last_words()}"

    def _last_words(self) -> str:
        info = self.info
        assert info.folder is not None
        lines = [
            line
            for path in sorted((info.folder / "log").iterdir())
            for line in path.read_text(errors="replace").splitlines()
        ]
        # The cause comes first; what follows is the fall of one supervisor after the other, in both files.
        errors = list(dict.fromkeys(line for line in lines if "[error]" in line and line.split()[4:]))
        text = "\n".join(errors[:_LOG_LINES] or lines[-_LOG_LINES:])
        return text if self._bind is None else text.replace(info.password, "***")


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def _programs() -> tuple[Path, Path]:
    """The server's script and epmd."""
    script, epmd = node_files.find_server(), node_files.find_epmd()
    if script is None or epmd is None:
        raise NodeError("no rabbitmq-server is on this machine: let 'python -m broker.node.provision' install it")
    return script, epmd


def new_node(*, port: int | None = None, bind: str | None = None, config: Sequence[str] = ()) -> PrivateNode:
    """A node that is not started yet: of this machine's RabbitMQ if there is one, else in a container."""
    if node_files.find_server() is None and shutil.which("docker"):
        from broker.node.docker import DockerNode

        return DockerNode(port=port, bind=bind, config=config)
    return Node(port=port, bind=bind, config=config)


@contextmanager
def private_node(
    *, port: int | None = None, bind: str | None = None, config: Sequence[str] = (), timeout_s: float = 60
) -> Iterator[PrivateNode]:
    """A ready node for the length of a ``with`` block; nothing of it is left afterwards, whatever happens.

    Raises NodeError. If this process ends without leaving the block (SIGTERM, SIGKILL), a guard cleans up.
    """
    node = new_node(port=port, bind=bind, config=config)
    try:
        node.start(timeout_s)
        yield node
    finally:
        node.stop()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """What would end this process waits until the end of the block. Between the start of a program and the note of
    its number it would leave the program behind. Who is started meanwhile is deaf to the same, but for SIGKILL."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
