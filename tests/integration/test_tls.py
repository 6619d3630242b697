"""TLS to a real broker: what is right works end to end, and whatever is wrong is refused, with its reason."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from glassrabbit_testing.glass import Glass
from glassrabbit_testing.rabbit import Rabbit
from glassrabbit_testing.vhost import RabbitVhost
from protocol.errors import ExitCode
from tests.integration.test_readme import run_block
from tests.support.brokers import Brokers, free_port
from tests.support.certificates import Authority, Pair, self_signed
from tests.support.commands import Ended, command
from tests.support.installation import Install, Installation
from tests.support.proxy import Proxy
from tests.support.tls_broker import NAME, TlsBroker
from tests.support.vhost import Vhost
from tests.support.waiting import eventually
from tests.support.workers import ROOT

#: A worker has two: one consumes, the other publishes.
LINKS = 2
DOCUMENT = (ROOT / "docs" / "tls.md").read_text()
CANARY = "canary-Pa55"

pytestmark = [pytest.mark.containers, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def tls_broker(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[TlsBroker]:
    with running(TlsBroker(tmp_path_factory.mktemp("tls"), authority)) as broker:
        yield broker


@pytest.fixture(scope="module")
def strict_broker(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[TlsBroker]:
    """One that talks only to clients with a certificate."""
    with running(TlsBroker(tmp_path_factory.mktemp("strict"), authority, asks_for_certificates=True)) as broker:
        yield broker


@contextlib.contextmanager
def running(broker: TlsBroker) -> Iterator[TlsBroker]:
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


@contextlib.contextmanager
def vhost_of(broker: TlsBroker) -> Iterator[Vhost]:
    vhost = Vhost(broker, f"test-{secrets.token_hex(4)}")
    broker.management.add_vhost(vhost.name)
    try:
        yield vhost
    finally:
        broker.management.remove_vhost(vhost.name)


@pytest.fixture
def vhost(tls_broker: TlsBroker) -> Iterator[Vhost]:
    with vhost_of(tls_broker) as vhost:
        yield vhost


@pytest.fixture
def trusting(install: Install, tls_broker: TlsBroker) -> Installation:
    """An installation that trusts the broker's authority."""
    return install(broker={"tls": {"ca_file": str(tls_broker.ca_file)}, "management_url": tls_broker.https_url})


def test_declare_worker_call_and_diff_work_over_tls_alone(trusting: Installation) -> None:
    vhost = trusting.vhost
    assert command(trusting.environment, "broker", "declare").code == 0
    worker = trusting.worker()
    called = command(trusting.environment, "dispatcher", "call", "echo", "-a", "value=1")
    assert (called.code, called.out) == (0, "1\n"), called.err
    same = command(trusting.environment, "broker", "diff")
    assert (same.code, same.out, same.err) == (0, "no differences\n", "")

    def rows() -> list[list[str]]:
        listing = vhost.broker.ctl("--quiet", "list_connections", "vhost", "ssl", "ssl_protocol")
        return [line.split("\t")[1:] for line in listing.splitlines() if line.startswith(vhost.name)]

    # Those of the commands may still be listed for a moment.
    eventually(lambda: rows() == [["true", "tlsv1.3"]] * LINKS, "the links of the worker, over TLS alone")
    assert not worker.lines("not encrypted")


@dataclass(frozen=True)
class Wrong:
    """One thing that is not as it should be."""

    said: str
    #: Another certificate for the broker.
    shown: Callable[[Authority], Pair] | None = None
    #: Another ``ca_file``; None: the system's authorities.
    trusted: str | None = "ca.pem"
    host: str = NAME
    scheme: str = "amqps"
    #: The broker's plain port instead of its TLS port.
    plain_port: bool = False


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(Wrong("no authority that is trusted here", trusted="stranger.pem"), id="unknown authority"),
        pytest.param(
            Wrong("no authority that is trusted here", trusted="namesake.pem"), id="authority's namesake"
        ),
        pytest.param(Wrong("no authority that is trusted here", trusted=None), id="not known to the system"),
        pytest.param(Wrong("is not valid for '127.0.0.1'", host="127.0.0.1"), id="another address"),
        pytest.param(Wrong("is not valid for 'localhost'", lambda ca: ca.issue("b.example")), id="another name"),
        pytest.param(Wrong("certificate has expired", lambda ca: ca.expired(NAME)), id="expired"),
        pytest.param(Wrong("certificate is not valid yet", lambda ca: ca.early(NAME)), id="too early"),
        pytest.param(Wrong("certificate is self-signed", lambda _: self_signed(NAME)), id="self-signed"),
        pytest.param(Wrong("nobody speaks TLS on this port", plain_port=True), id="TLS to a plain port"),
        pytest.param(
            Wrong("Check the port, and amqp:// against amqps://", scheme="amqp"), id="plain to a TLS port"
        ),
    ],
)
def test_what_is_wrong_is_refused_with_its_reason(
    wrong: Wrong, install: Install, tls_broker: TlsBroker, authority: Authority, tmp_path: Path
) -> None:
    authority.write(tmp_path / "ca.pem")
    Authority("a stranger").write(tmp_path / "stranger.pem")
    Authority().write(tmp_path / "namesake.pem")
    ca_file = wrong.trusted and str(tmp_path / wrong.trusted)
    installation = install(broker={"tls": {"ca_file": ca_file}})
    port = tls_broker.port if wrong.plain_port else tls_broker.tls_port
    place = f"{wrong.host}:{port}/{installation.vhost.name}"
    environment = {**installation.environment, "BROKER_URL": f"{wrong.scheme}://guest:{CANARY}@{place}"}
    with tls_broker.showing(wrong.shown(authority)) if wrong.shown else contextlib.nullcontext():
        refused = command(environment, "broker", "declare")
    assert_refused(refused, wrong.said)
    assert refused.err.startswith(f"error: {wrong.scheme}://guest:***@{place}")


def assert_refused(refused: Ended, said: str) -> None:
    assert refused.code == ExitCode.UNAVAILABLE, refused.err
    assert said in refused.err
    assert len(refused.err.splitlines()) == 1
    assert CANARY not in refused.out + refused.err


def test_a_peer_that_has_nothing_newer_than_tls_1_1_is_refused(
    install: Install, authority: Authority, tmp_path: Path
) -> None:
    installation = install(broker={"tls": {"ca_file": str(authority.write(tmp_path / "ca.pem"))}})
    with old_peer(authority.issue(NAME), tmp_path) as port:
        url = f"amqps://guest:{CANARY}@{NAME}:{port}/"
        refused = command({**installation.environment, "BROKER_URL": url}, "broker", "declare")
    assert_refused(refused, "the broker offers no TLS from version 1.2 on")


@contextlib.contextmanager
def old_peer(pair: Pair, folder: Path) -> Iterator[int]:
    """The port of somebody with a good certificate whose newest version is 1.1. A handshake with it would work."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair.write(folder, "old"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                client, _ = listener.accept()
                with client, context.wrap_socket(client, server_side=True) as secured:
                    secured.recv(8)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join(10)


def test_a_handshake_that_nobody_answers_is_given_up(install: Install, tls_broker: TlsBroker) -> None:
    installation = install(broker={"connect_timeout_s": 0.5, "tls": {"ca_file": str(tls_broker.ca_file)}})
    with Proxy(NAME, tls_broker.tls_port) as proxy:
        proxy.welcome("hang")
        url = f"amqps://guest:{CANARY}@{NAME}:{proxy.port}/"
        refused = command({**installation.environment, "BROKER_URL": url}, "broker", "declare")
    assert_refused(refused, "took the connection and did not answer")
    assert refused.wall_s < 10


def test_a_dispatcher_is_refused_with_the_same_reason(install: Install, tls_broker: TlsBroker) -> None:
    installation = install(broker={"connect_timeout_s": 1.0})
    refused = command(installation.environment, "dispatcher", "call", "echo")
    assert refused.code == ExitCode.UNAVAILABLE, refused.err
    assert "TLS failed: no authority that is trusted here" in refused.err


def test_a_worker_logs_an_expired_certificate_once_and_comes_back_when_it_is_renewed(
    trusting: Installation, tls_broker: TlsBroker, authority: Authority
) -> None:
    caller = trusting.caller()
    with Proxy(NAME, tls_broker.tls_port) as proxy:
        url = trusting.vhost.url.replace(f":{tls_broker.tls_port}/", f":{proxy.port}/")
        worker = trusting.worker(BROKER_URL=url)
        with tls_broker.showing(authority.expired(NAME)):
            proxy.refuse()
            worker.wait_for("cannot be reached", count=LINKS)
            before = proxy.accepted
            proxy.admit()
            worker.wait_for("certificate has expired. Renew it", count=LINKS)
            eventually(lambda: proxy.accepted >= before + 4 * LINKS, "four attempts of each link", 60)
            assert len(worker.lines("certificate has expired")) == LINKS, worker.log
        worker.wait_for("link up again", count=LINKS, within_s=60)
        assert caller.ask("echo", {"value": 2}).result == 2


def test_the_management_api_is_verified_as_well(trusting: Installation, tls_broker: TlsBroker) -> None:
    assert command(trusting.environment, "broker", "declare").code == 0
    elsewhere = tls_broker.https_url.replace(NAME, "127.0.0.1")
    environment = {**trusting.environment, "GLASSRABBIT__BROKER__MANAGEMENT_URL": elsewhere}
    asked = command(environment, "broker", "diff")
    assert (asked.code, asked.out) == (0, "no differences\n"), asked.err
    assert (
        f"note: the management API at {elsewhere}: TLS failed: the broker's certificate is not valid" in asked.err
    )
    assert "Bindings were not compared." in asked.err


@pytest.fixture
def strict(strict_broker: TlsBroker, tmp_path: Path) -> Iterator[Installation]:
    """An installation on the strict broker, which it trusts, without a certificate of its own."""
    tls = {"ca_file": str(strict_broker.ca_file)}
    with (
        vhost_of(strict_broker) as vhost,
        contextlib.closing(Installation(vhost, tmp_path, {"broker": {"tls": tls}})) as installation,
    ):
        yield installation


def with_certificate(installation: Installation, pair: Pair) -> dict[str, str]:
    certificate, key = pair.write(installation.folder, "client")
    prefix = "GLASSRABBIT__BROKER__TLS__"
    return {f"{prefix}CERT_FILE": str(certificate), f"{prefix}KEY_FILE": str(key)}


def test_a_client_certificate_opens_a_broker_that_asks_for_one(strict: Installation, authority: Authority) -> None:
    own = with_certificate(strict, authority.issue())
    strict.worker(ready=True, **own)
    called = command({**strict.environment, **own}, "dispatcher", "call", "echo", "-a", "value=3")
    assert (called.code, called.out) == (0, "3\n"), called.err


@pytest.mark.parametrize("shown", ["none", "a stranger's", "expired"])
def test_without_a_good_client_certificate_such_a_broker_refuses(
    strict: Installation, authority: Authority, shown: str
) -> None:
    own = {}
    if shown != "none":
        own = with_certificate(strict, Authority("other").issue() if shown != "expired" else authority.expired())
    refused = command({**strict.environment, **own}, "broker", "declare")
    assert_refused(refused, "TLS failed: the broker refused our certificate or misses one")
    assert "Check broker.tls.cert_file and key_file" in refused.err


@pytest.mark.parametrize(
    "words", [("broker", "declare"), ("broker", "diff"), ("dispatcher", "call", "echo"), ("worker", "queue_a")]
)
def test_files_that_cannot_be_used_are_reported_with_their_keys_before_anyone_is_asked(
    install: Install, authority: Authority, tmp_path: Path, words: tuple[str, ...]
) -> None:
    certificate, key = authority.issue().write(tmp_path, "client", key_mode=0o644)
    tls = {"ca_file": str(tmp_path / "nowhere.pem"), "cert_file": str(certificate), "key_file": str(key)}
    with Proxy("127.0.0.1", 1) as proxy:
        management = f"http://127.0.0.1:{proxy.port}"
        installation = install(broker={"tls": tls, "management_url": management})
        url = f"amqps://guest:{CANARY}@{NAME}:{proxy.port}/"
        refused = command({**installation.environment, "BROKER_URL": url}, *words)
        assert proxy.accepted == 0
    assert refused.code == ExitCode.CONFIG, refused.err
    missing, open_to_all = refused.err.splitlines()
    assert missing.startswith(f"error: broker.tls.ca_file: {tls['ca_file']} cannot be read: No such file")
    assert open_to_all.startswith(
        f"error: broker.tls.key_file: {key} can be read or changed by others (mode 644)."
    )


@pytest.mark.timeout(600)
@pytest.mark.long
def test_the_commands_of_the_documentation_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls_port, https_port = free_port(), free_port()
    project = f"tls-{secrets.token_hex(4)}"
    monkeypatch.setenv("DOCKER_CONFIG", os.environ.get("DOCKER_CONFIG", str(Path.home() / ".docker")))
    environment = {
        "COMPOSE_PROJECT_NAME": project,
        "GLASSRABBIT_IMAGE": project,
        "GLASSRABBIT_AMQPS_PORT": str(tls_port),
        "GLASSRABBIT_MANAGEMENT_PORT": str(https_port),
        "GLASSRABBIT__BROKER__MANAGEMENT_URL": f"https://localhost:{https_port}",
        "HOME": str(tmp_path),
    }
    in_docker, on_the_host, own_broker = re.findall(r"^```console\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    # One shell, as a reader has one.
    block = in_docker + on_the_host.replace(":5671/", f":{tls_port}/") + own_broker
    try:
        printed = run_block(block, tmp_path, **environment)
    finally:
        files = ["-f", "compose.yaml", "-f", "docker/tls/compose.yaml"]
        subprocess.run(["docker", "compose", "-p", project, *files, "down", "--volumes"], cwd=ROOT, check=True)
        subprocess.run(["docker", "image", "rm", "--force", project], check=True)
    assert any("2 of 2 done" in line for line in printed), "\n".join(printed)
    assert any(line.startswith('{"slept": 0.1') for line in printed), "\n".join(printed)
    assert "no differences" in printed
    made = tmp_path / "glassrabbit-tls"
    assert {file.name for file in made.iterdir()} == {"ca.pem", "server.pem", "server.key"}
    assert (made / "server.key").stat().st_mode & 0o777 == 0o600


def test_a_worker_that_leaves_the_machine_without_encryption_says_so_once(trusting: Installation) -> None:
    worker = trusting.worker(ready=False, BROKER_URL=f"amqp://guest:{CANARY}@broker.invalid/")
    worker.wait_for("link down", count=LINKS)
    assert len(worker.lines("amqp://guest:***@broker.invalid:5672/ is not encrypted")) == 1
    assert CANARY not in worker.log
    worker.sigterm()
    assert worker.wait() == 0


def test_the_testing_kit_makes_its_virtual_host_over_tls_and_its_clients_need_none(
    tls_broker: TlsBroker, brokers: Brokers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BROKER_URL", tls_broker.url())
    monkeypatch.setenv("GLASSRABBIT__BROKER__TLS__CA_FILE", str(tls_broker.ca_file))
    monkeypatch.setenv("GLASSRABBIT__BROKER__MANAGEMENT_URL", tls_broker.https_url)
    with RabbitVhost(Rabbit(brokers)) as vhost:
        glass = Glass(vhost, tmp_path)
        assert vhost.url.startswith("amqp://guest:guest@127.0.0.1:")
        glass.dispatcher.submit("task_a")
        with pytest.raises(AssertionError, match=r"queue_a +1 +0 +0"):
            glass.drain(0.1)
        glass.close()
