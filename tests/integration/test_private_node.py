"""A private node is ours alone: on loopback, beside any other broker, and gone without trace."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import pika
import pika.exceptions
import pytest

from broker.node.docker import DockerNode, engine_answers
from broker.node.files import find_server
from broker.node.local import Node, NodeError, private_node
from broker.node.ready import PrivateNode

_ROOT = Path(__file__).parents[2]
_LISTEN = "0A"
_READY_S = 60.0
_SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]

pytestmark = pytest.mark.needs("/proc")


@pytest.fixture(scope="module")
def server() -> None:
    """A rabbitmq-server on this machine. Where private nodes are containers, tests with it do not run."""
    assert find_server() is not None


@pytest.fixture(scope="module")
def node(server: None) -> Iterator[PrivateNode]:
    with private_node() as node:
        yield node


@pytest.fixture
def up_process() -> Iterator[subprocess.Popen[str]]:
    """``broker up``, ended with the test if the test does not end it."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from broker.commands.node import up; up()"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
    )
    with process:
        yield process
        process.terminate()


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], set[Path]]:
    """The folders of this test's nodes, apart from those of anything else on the machine."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return lambda: set(tmp_path.glob("glassrabbit-*"))


def test_a_ready_node_takes_a_connection(node: PrivateNode) -> None:
    with pika.BlockingConnection(pika.URLParameters(node.info.url)) as connection:
        assert connection.is_open


def test_all_sockets_of_a_node_are_on_loopback(node: PrivateNode) -> None:
    listeners = _listeners(_folder(node))
    ports = {port for _, port in listeners}
    assert {node.info.port, node.info.management_port, node.info.prometheus_port} < ports
    # AMQP, management, metrics, Erlang distribution, epmd
    assert len(ports) == 5
    assert all(address in {"127.0.0.1", "::1"} for address, _ in listeners)


def test_the_files_of_a_node_are_for_its_owner_only(node: PrivateNode) -> None:
    folder = _folder(node)
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "rabbitmq.conf").stat().st_mode & 0o077 == 0


def test_a_second_node_runs_beside_the_first(node: PrivateNode) -> None:
    with private_node() as second:
        assert second.info.port != node.info.port
        assert _queues_after_declaring(second, "only_in_the_second") == {"only_in_the_second"}
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="NOT_FOUND"):
            _queue(node, "only_in_the_second", passive=True)


def test_bind_opens_amqp_alone_and_only_for_a_generated_password(server: None) -> None:
    with private_node(bind="127.0.0.2") as node:
        listeners = _listeners(_folder(node))
        assert ("127.0.0.2", node.info.port) in listeners
        assert {address for address, port in listeners if port != node.info.port} <= {"127.0.0.1", "::1"}
        with pika.BlockingConnection(pika.URLParameters(node.info.url)) as connection:
            assert connection.is_open
        guest = f"amqp://guest:guest@{node.info.host}:{node.info.port}/"
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            pika.BlockingConnection(pika.URLParameters(guest))


def test_the_password_shows_nowhere(server: None) -> None:
    with private_node(bind="127.0.0.2") as node:
        info = node.info
        assert len(info.password) >= 24
        assert info.password not in repr(info) + info.redacted_url + repr(node)
        secret = info.password.encode()
        for pid in _processes(_folder(node)):
            assert secret not in _read(pid, "cmdline") + _read(pid, "environ")
        logs = b"".join(path.read_bytes() for path in (_folder(node) / "log").iterdir())
        assert logs
        assert secret not in logs


def test_a_message_in_a_quorum_queue_outlives_sigkill(server: None) -> None:
    with private_node() as node:
        _publish(node, "kept", "quorum")
        # RabbitMQ writes the name of a new quorum queue to disk about a second after it is declared. If it is
        # killed before that, the queue comes back empty and without a leader.
        (names,) = _folder(node).glob("data/*/quorum/*/names.dets")
        _eventually(lambda: b"kept" in names.read_bytes(), "the queue's name is on disk")
        _kill_and_restart(node)
        assert _get(node, "kept") == b"still here"


@pytest.mark.containers
def test_a_message_outlives_the_kill_of_a_container() -> None:
    assert engine_answers(), "no Docker engine answers; start one, or deselect with -m 'not containers'"
    node = DockerNode(bind="127.0.0.1")
    try:
        node.start(timeout_s=_READY_S)
        _publish(node, "kept", "classic")
        # A node that is killed within seconds of `declare-ok` may have forgotten the queue: its record is in
        # Mnesia's log, of which the end is not always read again.
        dump = ["docker", "exec", node.name, "rabbitmqctl", "eval", "mnesia:dump_log()."]
        assert subprocess.run(dump, capture_output=True, text=True, timeout=60).stdout.strip() == "dumped"
        _kill_and_restart(node)
        assert _get(node, "kept") == b"still here"
    finally:
        node.stop()
    assert _containers(node.name) == set()


def test_a_stopped_node_leaves_nothing(server: None, folders: Callable[[], set[Path]]) -> None:
    node = Node()
    node.start(timeout_s=_READY_S)
    folder = _folder(node)
    assert _processes(folder)
    node.stop()
    node.stop()
    assert folders() == set()
    _eventually(lambda: not _processes(folder), "its helpers end with the VM")


def test_a_taken_port_is_refused_by_name(server: None, folders: Callable[[], set[Path]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(NodeError, match=f"port {port}: "):
            Node(port=port).start()
    assert folders() == set()


def test_an_address_that_is_not_ours_is_refused(server: None, folders: Callable[[], set[Path]]) -> None:
    # 192.0.2.0/24 is reserved for documentation.
    with pytest.raises(NodeError, match=r"cannot listen on 192\.0\.2\.1"):
        Node(bind="192.0.2.1").start()
    assert folders() == set()


def test_a_node_that_cannot_start_gives_its_last_words(server: None, folders: Callable[[], set[Path]]) -> None:
    node = Node(bind="127.0.0.2", config=["no_such_key = 1"])
    with pytest.raises(NodeError, match="no_such_key"):
        node.start(timeout_s=_READY_S)
    assert folders() == set()


def test_a_node_that_takes_too_long_is_given_up(server: None, folders: Callable[[], set[Path]]) -> None:
    with pytest.raises(NodeError, match=r"not ready after 0\.2 s"):
        Node().start(timeout_s=0.2)
    assert folders() == set()


@pytest.mark.parametrize("number", _SIGNALS, ids=lambda number: number.name)
def test_up_leaves_nothing_when_it_is_ended(
    server: None, number: signal.Signals, folders: Callable[[], set[Path]], up_process: subprocess.Popen[str]
) -> None:
    process = up_process
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    (folder,) = folders()
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        assert connection.is_open
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert output == ""
    assert process.returncode == (-signal.SIGKILL if number is signal.SIGKILL else 0)
    _eventually(lambda: not folder.exists() and not _processes(folder), "the guard cleans up")


@pytest.mark.parametrize("number", _SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("file", ["enabled_plugins", "pid", "log/glassrabbit@localhost.log"])
def test_up_leaves_nothing_when_it_is_ended_while_starting(
    server: None,
    number: signal.Signals,
    file: str,
    folders: Callable[[], set[Path]],
    up_process: subprocess.Popen[str],
) -> None:
    process = up_process
    _eventually(lambda: any((folder / file).exists() for folder in folders()), f"it has written {file}")
    (folder,) = folders()
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == (-signal.SIGKILL if number is signal.SIGKILL else 130)
    _eventually(lambda: not folder.exists() and not _processes(folder), "the guard cleans up")


def test_a_signal_waits_until_the_number_of_a_program_that_is_started_is_noted() -> None:
    program = """
        import os, signal
        from broker.node.local import _undisturbed
        try:
            with _undisturbed():
                os.kill(os.getpid(), signal.SIGINT)
                noted = True
            print("not interrupted")
        except KeyboardInterrupt:
            print("interrupted afterwards" if noted else "interrupted before")
    """
    ended = subprocess.run([sys.executable, "-c", dedent(program)], capture_output=True, text=True, timeout=20)
    assert ended.stdout.strip() == "interrupted afterwards", ended.stderr


def test_a_detached_node_runs_until_down(server: None, tmp_path: Path, folders: Callable[[], set[Path]]) -> None:
    first = _run(tmp_path, "up", "--detach")
    try:
        assert first.returncode == 0
        (folder,) = folders()
        with pika.BlockingConnection(pika.URLParameters(first.stdout.strip())) as connection:
            assert connection.is_open
        assert (tmp_path / "glassrabbit" / "node.json").stat().st_mode & 0o077 == 0
        second = _run(tmp_path, "up", "--detach")
        assert (second.returncode, second.stdout) == (0, first.stdout)
        other = _run(tmp_path, "up", "--detach", "--port", "5999")
        assert (other.returncode, other.stdout) == (69, "")
        assert first.stdout.strip() in other.stderr
    finally:
        ended = _run(tmp_path, "down")
    assert ended.returncode == 0
    assert not folder.exists()
    _eventually(lambda: not _processes(folder), "its helpers end with the VM")
    again = _run(tmp_path, "down")
    assert (again.returncode, again.stderr) == (0, "no detached broker is running\n")


def _publish(node: PrivateNode, queue: str, kind: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(node.info.url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
        durable = pika.BasicProperties(delivery_mode=2)
        channel.basic_publish("", queue, b"still here", properties=durable, mandatory=True)


def _kill_and_restart(node: PrivateNode) -> None:
    url = node.info.url
    node.kill()
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        pika.BlockingConnection(pika.URLParameters(url))
    assert node.restart(timeout_s=_READY_S).url == url


def _get(node: PrivateNode, queue: str) -> bytes | None:
    with pika.BlockingConnection(pika.URLParameters(node.info.url)) as connection:
        _, _, body = connection.channel().basic_get(queue, auto_ack=True)
        return bytes(body) if body is not None else None


def _queue(node: PrivateNode, name: str, *, passive: bool = False) -> str:
    with pika.BlockingConnection(pika.URLParameters(node.info.url)) as connection:
        declared = connection.channel().queue_declare(name, durable=True, passive=passive)
        return str(declared.method.queue)


def _queues_after_declaring(node: PrivateNode, name: str) -> set[str]:
    return {_queue(node, name), _queue(node, name, passive=True)}


def _run(state: Path, command: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"from broker.commands.node import {command}; {command}()", *options],
        env={**os.environ, "XDG_STATE_HOME": str(state)},
        capture_output=True,
        text=True,
        cwd=_ROOT,
        timeout=_READY_S,
        check=False,
    )


def _folder(node: PrivateNode) -> Path:
    assert node.info.folder is not None
    return node.info.folder


def _containers(name: str) -> set[str]:
    listing = ["docker", "ps", "--all", "--filter", f"name={name}", "--format", "{{.Names}}"]
    return set(subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split())


def _processes(folder: Path) -> set[int]:
    """Every living process that has the folder in its arguments or its environment."""
    name = bytes(folder)
    pids = {int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()}
    return {pid for pid in pids if name in _read(pid, "cmdline") + _read(pid, "environ")}


def _read(pid: int, file: str) -> bytes:
    try:
        return Path("/proc", str(pid), file).read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def _listeners(folder: Path) -> set[tuple[str, int]]:
    """Address and port of every listening TCP socket that a process of the node has."""
    inodes = {inode for pid in _processes(folder) for inode in _sockets(pid)}
    found = set()
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == _LISTEN and rest[5] in inodes:
                address, port = local.split(":")
                found.add((_address(family, address), int(port, 16)))
    return found


def _sockets(pid: int) -> Iterator[str]:
    """Inodes of the sockets that a process has; what it closes while we look is none of them."""
    with suppress(FileNotFoundError):
        for link in Path("/proc", str(pid), "fd").iterdir():
            with suppress(FileNotFoundError):
                target = os.readlink(link)
                if target.startswith("socket:["):
                    yield target[len("socket:[") : -1]


def _address(family: int, text: str) -> str:
    """The kernel prints 32-bit words in the byte order of the machine."""
    words = [int(text[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(text), 8)]
    return socket.inet_ntop(family, b"".join(words))


def _eventually(condition: Callable[[], bool], what: str, within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {within_s:g} s: {what}"
        time.sleep(0.01)
