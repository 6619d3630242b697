"""What TLS is made from, file by file, and what each failure of it says: handshakes in memory, no network."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.config.endpoint import parse_endpoint
from broker.config.settings import BrokerSettings
from broker.config.tls import TlsSettings, is_in_the_open, tls_context, untrusted
from broker.errors import ConfigError, Unreachable, Untrusted
from broker.management import Management
from protocol.errors import ExitCode
from tests.support.certificates import Authority, Pair, self_signed

WHERE = "amqps://someone:***@b.example:5671/"
AUTHORITY = Authority()
NAME = "b.example"


def handshake(shown: Pair, folder: Path, *, asks: bool = False, own: Pair | None = None) -> None:
    """Between our context, which trusts ``AUTHORITY``, and a server that shows a certificate for ``NAME``."""
    ca_file = AUTHORITY.write(folder / "ca.pem")
    certificate, key = own.write(folder, "client") if own else (None, None)
    ours = tls_context(TlsSettings(ca_file=ca_file, cert_file=certificate, key_file=key))
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(*shown.write(folder))
    if asks:
        theirs.load_verify_locations(ca_file)
        theirs.verify_mode = ssl.CERT_REQUIRED
    to_us, to_them = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ours.wrap_bio(to_us, to_them, server_hostname=NAME)
    server = theirs.wrap_bio(to_them, to_us, server_side=True)
    # A side that still has to hear something asks to be called again.
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            if side is client:
                raise
    # In TLS 1.3 what the server says of our certificate comes with the first bytes.
    with pytest.raises(ssl.SSLWantReadError):
        client.read(1)


def test_a_good_certificate_is_accepted_also_with_one_of_our_own(tmp_path: Path) -> None:
    handshake(AUTHORITY.issue(NAME), tmp_path)
    handshake(AUTHORITY.issue(NAME), tmp_path, asks=True, own=AUTHORITY.issue())


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (
            AUTHORITY.issue("other.example"),
            "certificate is not valid for 'b.example'. Use a name that stands in it",
        ),
        (AUTHORITY.expired(NAME), "certificate has expired. Renew it there"),
        (AUTHORITY.early(NAME), "certificate is not valid yet. Check the clocks"),
        (self_signed(NAME), "certificate is self-signed. To trust it, name a copy of it in broker.tls.ca_file"),
        (Authority().issue(NAME), "no authority that is trusted here issued the broker's certificate. Name it in"),
        (
            Authority("x").issue(NAME),
            "no authority that is trusted here issued the broker's certificate. Name it in",
        ),
    ],
    ids=["another name", "expired", "too early", "self-signed", "authority's namesake", "unknown authority"],
)
def test_a_certificate_that_is_not_accepted_is_reported_with_what_to_do(
    shown: Pair, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ssl.SSLError) as raised:
        handshake(shown, tmp_path)
    assert_explained(untrusted(raised.value, WHERE), said)


def assert_explained(found: Untrusted, said: str) -> None:
    assert isinstance(found, Unreachable)
    assert found.exit_code is ExitCode.UNAVAILABLE
    assert str(found).startswith(f"{WHERE}: TLS failed: ")
    assert said in str(found)
    assert str(found).endswith(".")
    assert "\n" not in str(found)


def test_a_certificate_that_the_broker_misses_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLError) as raised:
        handshake(AUTHORITY.issue(NAME), tmp_path, asks=True)
    assert_explained(untrusted(raised.value, WHERE), "the broker refused our certificate or misses one (")


def test_a_peer_that_answers_in_plain_is_reported() -> None:
    answer, to_them = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls_context(TlsSettings()).wrap_bio(answer, to_them, server_hostname=NAME)
    answer.write(b"AMQP\x00\x00\x09\x01")
    with pytest.raises(ssl.SSLError) as raised:
        client.do_handshake()
    assert_explained(untrusted(raised.value, WHERE), "nobody speaks TLS on this port")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[SSL: UNSUPPORTED_PROTOCOL] unsupported protocol", "offers no TLS from version 1.2 on"),
        ("[SSL: TLSV1_ALERT_PROTOCOL_VERSION] tlsv1 alert protocol version", "offers no TLS from version 1.2 on"),
        ("[SSL: BAD_EXTENSION] bad extension", "BAD_EXTENSION. Check broker.tls, and the broker's log."),
        ("something new", "something new. Check broker.tls, and the broker's log."),
    ],
)
def test_other_failures_keep_openssls_words(text: str, said: str) -> None:
    assert_explained(untrusted(ssl.SSLError(1, text), WHERE), said)


def test_nothing_can_be_set_that_weakens_it() -> None:
    assert set(TlsSettings.model_fields) == {"ca_file", "cert_file", "key_file"}
    context = tls_context(TlsSettings())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


Files = Callable[[Path], TlsSettings]


def _client(folder: Path, pair: Pair, key_mode: int = 0o600) -> TlsSettings:
    certificate, key = pair.write(folder, "client", key_mode)
    return TlsSettings(cert_file=certificate, key_file=key)


def _with_text(folder: Path, text: str) -> Path:
    file = folder / "text.pem"
    file.write_text(text)
    return file


def _of_two_pairs(folder: Path) -> TlsSettings:
    _, key = AUTHORITY.issue().write(folder, "other")
    certificate, _ = AUTHORITY.issue().write(folder, "client")
    return TlsSettings(cert_file=certificate, key_file=key)


def _with_passphrase(folder: Path) -> TlsSettings:
    return _client(folder, AUTHORITY.issue().locked("secret"))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            lambda f: TlsSettings(ca_file=f / "no.pem"),
            "ca_file: {}/no.pem cannot be read: No such file or directory.",
        ),
        (lambda f: TlsSettings(ca_file=f), "ca_file: {} cannot be read: Is a directory. Check the name"),
        (
            lambda f: TlsSettings(ca_file=_with_text(f, "")),
            "ca_file: {}/text.pem holds no certificate. Give a PEM",
        ),
        (
            lambda f: TlsSettings(ca_file=_with_text(f, "x")),
            "ca_file: {}/text.pem holds no certificate. Give a PEM",
        ),
        (
            lambda f: _client(f, Pair(b"", AUTHORITY.issue().key)),
            "cert_file: {}/client.pem holds no certificate. Give a PEM",
        ),
        (
            lambda f: _client(f, Pair(AUTHORITY.issue().certificate, b"")),
            "key_file: {}/client.key holds no private key, or one with a passphrase.",
        ),
        (_with_passphrase, "key_file: {}/client.key holds no private key, or one with a passphrase."),
        (
            _of_two_pairs,
            "key_file: {}/other.key is not the key of {}/client.pem. Give the two that belong together.",
        ),
        (
            lambda f: _client(f, AUTHORITY.issue(), 0o640),
            "key_file: {}/client.key can be read or changed by others (mode 640). Run chmod 600 on it.",
        ),
        (
            lambda f: _client(f, AUTHORITY.issue(), 0o602),
            "key_file: {}/client.key can be read or changed by others (mode 602). Run chmod 600 on it.",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_a_configuration_error_with_its_key(
    files: Files, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as raised:
        tls_context(files(tmp_path))
    (problem,) = raised.value.problems
    assert problem.startswith("broker.tls." + said.replace("{}", str(tmp_path)))
    assert problem.endswith(".")


def test_all_wrong_files_are_reported_at_once(tmp_path: Path) -> None:
    files = TlsSettings(ca_file=tmp_path / "a", cert_file=tmp_path / "b", key_file=tmp_path / "c")
    with pytest.raises(ConfigError) as raised:
        tls_context(files)
    assert [problem.split(":")[0] for problem in raised.value.problems] == [
        "broker.tls.ca_file",
        "broker.tls.cert_file",
    ]


@pytest.mark.parametrize(
    ("url", "is_open"),
    [
        ("amqp://localhost", False),
        ("amqp://127.0.0.1", False),
        ("amqp://127.8.9.10", False),
        ("amqp://[::1]", False),
        ("amqps://b.example", False),
        ("amqp://b.example", True),
        ("amqp://10.0.0.1", True),
        ("amqp://[fd00::1]", True),
    ],
)
def test_a_password_is_in_the_open_where_plain_amqp_leaves_the_machine(url: str, is_open: bool) -> None:
    assert is_in_the_open(parse_endpoint(url)) is is_open


@pytest.mark.parametrize(
    ("url", "management_url", "asked", "is_verified"),
    [
        ("amqps://b.example", None, "https://b.example:15671", True),
        ("amqps://[::1]", None, "https://[::1]:15671", True),
        ("amqp://b.example", None, "http://b.example:15672", False),
        ("amqp://b.example", "https://m.example/", "https://m.example", True),
        ("amqps://b.example", "http://m.example:1", "http://m.example:1", False),
    ],
)
def test_the_management_api_of_a_tls_broker_is_asked_over_tls(
    url: str, management_url: str | None, asked: str, is_verified: bool
) -> None:
    settings = BrokerSettings(url=(parse_endpoint(url),), management_url=management_url)
    api = Management.of(settings)
    assert api.base_url == asked
    assert (api.tls is not None) is is_verified
