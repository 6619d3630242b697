"""``worker.http``: on loopback by default, elsewhere only with a token, which is never shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from broker.config.http_settings import HttpSettings
from broker.config.http_settings import ports as tried
from broker.config.loader import load
from broker.errors import ConfigError
from tests.support.workers import ROOT

TOKEN = "correct-horse-battery"


def http(text: str, tmp_path: Path, **environ: str) -> HttpSettings:
    file = tmp_path / "config.yml"
    file.write_text(f"worker: {{http: {{{text}}}}}")
    return load(file, environ).worker.http


def test_by_default_it_is_served_on_loopback(tmp_path: Path) -> None:
    settings = http("", tmp_path)

    assert (settings.enabled, settings.bind, settings.port, settings.token) == (True, "127.0.0.1", 9870, None)


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.8.9.1", "::1"])
def test_on_loopback_no_token_is_needed(bind: str, tmp_path: Path) -> None:
    assert http(f"bind: '{bind}'", tmp_path).token is None


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "10.0.0.7", "::ffff:10.0.0.7"])
def test_off_loopback_a_token_is_needed(bind: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can be reached from other machines"):
        http(f"bind: '{bind}'", tmp_path)

    token = http(f"bind: '{bind}', token: {TOKEN}", tmp_path).token
    assert token is not None
    assert token.get_secret_value() == TOKEN


def test_the_environment_can_set_all_of_it(tmp_path: Path) -> None:
    prefix = "GLASSRABBIT__WORKER__HTTP__"
    further = {"BIND": "0.0.0.0", "TOKEN": TOKEN, "PORT": "1234", "ENABLED": "false"}
    settings = http("", tmp_path, **{prefix + name: value for name, value in further.items()})

    assert (settings.bind, settings.port, settings.enabled) == ("0.0.0.0", 1234, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bind: localhost", "worker.http.bind: this is not an IP address"),
        ("port: 65536", "worker.http.port: 65536 is too large"),
        ("port: -1", "worker.http.port: -1 is too small"),
        ("tokens: a", "worker.http.tokens: there is no such key. Did you mean token?"),
        ("enabled: 1", "worker.http.enabled: "),
    ],
)
def test_what_is_wrong_is_said_with_its_key(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=expected):
        http(text, tmp_path)


@pytest.mark.parametrize(
    "token", ["123456789012345678", "geheim7", "'geheim7 geheim7 geheim7'", "[geheim7]", "true"]
)
def test_a_token_that_is_none_is_refused_and_not_repeated(token: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        http(f"token: {token}", tmp_path)

    assert "worker.http.token: " in str(refused.value)
    assert "geheim7" not in str(refused.value)
    assert "1234" not in str(refused.value)


def test_a_token_is_never_shown(tmp_path: Path) -> None:
    settings = http(f"token: {TOKEN}", tmp_path)

    for shown in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert TOKEN not in shown


def test_a_worker_starts_without_the_library_that_writes_metrics() -> None:
    code = "import sys, worker.command; print([name for name in sys.modules if name.startswith('prometheus')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("port", "ports"), [(9870, range(9870, 9880)), (65530, range(65530, 65536)), (0, range(0))]
)
def test_if_a_port_is_taken_the_next_ones_are_tried(port: int, ports: range) -> None:
    assert list(tried(port)) == list(ports)
