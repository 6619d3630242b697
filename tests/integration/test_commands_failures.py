"""What a command says when it cannot begin: a wrong configuration, no broker, a wrong login."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.administrator import close_connections
from tests.support.brokers import free_port
from tests.support.commands import Running, command
from tests.support.installation import Install, Installation
from tests.support.slowness import in_time

CONNECT_S = 0.5
PASSWORD = "canary-Pa55"
COMMANDS = [
    ("dispatcher", []),
    ("dispatcher", ["call", "echo"]),
    ("dispatcher", ["map", "echo"]),
    ("dispatcher", ["submit", "echo"]),
    ("dispatcher", ["collect", "box"]),
    ("broker", ["declare"]),
    ("broker", ["diff"]),
]
HELP = [
    ("dispatcher", []),
    ("dispatcher", ["demo"]),
    ("dispatcher", ["call"]),
    ("dispatcher", ["map"]),
    ("dispatcher", ["submit"]),
    ("dispatcher", ["collect"]),
    ("broker", []),
    ("broker", ["declare"]),
    ("broker", ["show"]),
    ("broker", ["diff"]),
    ("broker", ["up"]),
    ("broker", ["down"]),
    ("worker", []),
]


def words_of(case: tuple[str, list[str]]) -> str:
    return " ".join([case[0], *case[1]])


@pytest.fixture
def impatient(install: Install) -> Installation:
    return install(broker={"connect_timeout_s": CONNECT_S}, workload=[{"task": "echo"}])


@contextlib.contextmanager
def server(greeting: bytes | None) -> Iterator[int]:
    """The port of something that listens and is no RabbitMQ; with a greeting it says that and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                client.recv(8)
                client.sendall(greeting or b"")
                client.close()

    thread = threading.Thread(target=serve, daemon=True)
    if greeting is not None:
        thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize("case", COMMANDS, ids=words_of)
def test_without_a_broker_it_ends_with_69_within_the_connect_bound_and_says_what_to_check(
    impatient: Installation, case: tuple[str, list[str]]
) -> None:
    url = f"amqp://someone:{PASSWORD}@127.0.0.1:{free_port()}/vhost"
    module, words = case
    ended = command({**impatient.environment, "BROKER_URL": url}, module, *words)
    assert (ended.code, ended.out) == (69, "")
    assert url.replace(PASSWORD, "***") in ended.err
    assert "Check that RabbitMQ runs, and broker.url or BROKER_URL" in ended.err
    assert len(ended.err.splitlines()) == 1
    # The start of an interpreter comes on top.
    assert in_time(ended.wall_s, CONNECT_S + 3)


@pytest.mark.parametrize(
    ("greeting", "said"),
    [
        (None, "took the connection and did not answer"),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "does not speak AMQP"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "does not speak AMQP"),
    ],
    ids=["silent", "http", "ssh"],
)
def test_a_server_that_is_no_rabbitmq_is_recognised(
    impatient: Installation, greeting: bytes | None, said: str
) -> None:
    with server(greeting) as port:
        url = f"amqp://someone:{PASSWORD}@127.0.0.1:{port}/"
        ended = command({**impatient.environment, "BROKER_URL": url}, "dispatcher", "call", "echo")
    assert (ended.code, ended.out) == (69, "")
    assert said in ended.err
    assert in_time(ended.wall_s, CONNECT_S + 3)


@pytest.mark.every_broker(long=True)
@pytest.mark.parametrize("case", [COMMANDS[1], COMMANDS[5]], ids=words_of)
def test_a_refused_login_and_a_missing_vhost_are_reported_at_once(
    impatient: Installation, case: tuple[str, list[str]]
) -> None:
    broker, (module, words) = impatient.vhost.broker, case
    for url, said in (
        (f"amqp://guest:{PASSWORD}@{broker.host}:{broker.port}/", "refused the login. Check user and password"),
        (broker.url("no-such-vhost"), "refused the virtual host"),
    ):
        environment = {**impatient.environment, "BROKER_URL": url, "GLASSRABBIT__BROKER__CONNECT_TIMEOUT_S": "20"}
        ended = command(environment, module, *words)
        assert (ended.code, ended.out) == (69, "")
        assert said in ended.err
        assert PASSWORD not in ended.err
        assert len(ended.err.splitlines()) == 1
        assert in_time(ended.wall_s, 5)


@pytest.mark.parametrize("case", [*COMMANDS, ("broker", ["show"]), ("worker", ["queue_a"])], ids=words_of)
def test_a_wrong_configuration_ends_with_78_and_all_problems_before_any_io(
    tmp_path: Path, case: tuple[str, list[str]]
) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("queues: {queue_a: {prefech: 3}}\nworker: {concurrency: zero}\n")
    module, words = case
    with server(None) as port:
        environment = {**os.environ, "BROKER_URL": f"amqp://someone:{PASSWORD}@127.0.0.1:{port}/"}
        ended = command(environment, module, *words, "--config", str(wrong), within_s=10)
    assert (ended.code, ended.out) == (78, "")
    lines = ended.err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: ") and str(wrong) in line for line in lines)
    assert "prefech" in ended.err
    assert "concurrency" in ended.err


def test_a_configuration_that_is_not_there_is_reported(tmp_path: Path) -> None:
    ended = command(os.environ, "dispatcher", "call", "echo", "--config", str(tmp_path / "no.yml"))
    assert (ended.code, ended.out) == (78, "")
    assert "no.yml" in ended.err


@pytest.mark.parametrize("case", HELP, ids=words_of)
def test_help_costs_less_than_a_fifth_of_a_second_of_processor_time(
    case: tuple[str, list[str]],
) -> None:
    module, words = case

    def cost_s() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = command(os.environ, module, *words, "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith("Usage: python -m ")
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    costs = [cost_s() for _ in range(3)]
    assert min(costs) < 0.2, costs


def test_the_password_is_in_no_output_and_in_no_command_line_of_a_process(install: Install) -> None:
    installation = install(workload=[{"task": "echo"}])
    vhost = installation.vhost
    management, user = vhost.broker.management, f"canary-{vhost.name}"
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    management.add_user(user, PASSWORD, vhost.name, everything)
    url = f"amqp://{user}:{PASSWORD}@{vhost.broker.host}:{vhost.broker.port}/{vhost.name}"
    environment = {**installation.environment, "BROKER_URL": url}
    try:
        worker = installation.worker(BROKER_URL=url)
        with Running(environment, "dispatcher", "map", "echo", "--timeout", "5") as mapping:
            mapping.write("{}\n")
            mapping.lines(1)
            for pid in _descendants(worker.pid, mapping.pid):
                proc = Path("/proc", str(pid))
                shown = proc.joinpath("cmdline").read_bytes() + proc.joinpath("comm").read_bytes()
                assert PASSWORD.encode() not in shown
            management.request("PUT", "users", user, body={"password": "another", "tags": ""})
            close_connections(vhost)
            worker.wait_for("refused the login")
            mapping.end_input()
            outputs = [mapping.wait(15)]
        outputs += [command(environment, module, *words) for module, words in COMMANDS]
        assert {ended.code for ended in outputs[1:]} == {69}
        assert PASSWORD not in worker.log + "".join(ended.out + ended.err for ended in outputs)
    finally:
        management.remove_user(user)


def _descendants(*pids: int) -> list[int]:
    """These processes and all below them."""
    found = list(pids)
    for pid in found:
        children = Path("/proc", str(pid), "task", str(pid), "children").read_text()
        found += [int(child) for child in children.split()]
    return found
