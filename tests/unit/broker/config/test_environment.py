"""What the environment sets: text that stays text, files that hold it, and what a handler is told of it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from broker.config.environment import WITHHELD
from broker.config.loader import load, with_places
from broker.config.settings import Settings
from broker.errors import ConfigError

TOKEN = "GLASSRABBIT__WORKER__HTTP__TOKEN"
PASSWORD = "GLASSRABBIT__BROKER__MANAGEMENT_PASSWORD"
USER = "GLASSRABBIT__BROKER__MANAGEMENT_USER"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def token_of(settings: Settings) -> str | None:
    return None if settings.worker.http.token is None else settings.worker.http.token.get_secret_value()


def problem_of(environ: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as raised:
        load(None, environ)
    [problem] = raised.value.problems
    return problem


@pytest.mark.parametrize(
    "text", ["1234567890123e12", "12345678901234567", "true.true.true.tr", "0.12345678901234"]
)
def test_a_token_that_looks_like_a_number_is_a_token(text: str) -> None:
    assert token_of(load(None, {TOKEN: text})) == text


@pytest.mark.parametrize(
    "text", ["p # x", "a: b", "[1", "*x", "&x", "{", "@x", "%x", "- x", "true", "1e3", "nu''ll"]
)
def test_a_password_needs_no_quotes(text: str) -> None:
    password = load(None, {USER: "me", PASSWORD: text}).broker.management_password
    assert password is not None
    assert password.get_secret_value() == text


def test_null_and_quotes_mean_what_they_mean_in_the_file() -> None:
    assert token_of(load(None, {TOKEN: "null"})) is None
    assert token_of(load(None, {TOKEN: '"1234567890123456"'})) == "1234567890123456"


def test_a_number_stays_a_number() -> None:
    assert load(None, {"GLASSRABBIT__WORKER__GRACE_S": "1e2"}).worker.grace_s == 100


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_variable_may_name_the_file_that_holds_the_value(end: str, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"amqp://me:secret@h:5/v{end}")
    (tmp_path / "token").write_text(f"1234567890123e12{end}")
    settings, places = with_places(
        None, {"BROKER_URL_FILE": "url", f"{TOKEN}_FILE": str(tmp_path / "token"), "BROKER_URL": ""}
    )
    assert settings.broker.endpoints[0].password == "secret"
    assert token_of(settings) == "1234567890123e12"
    assert places["broker", "url"] == "BROKER_URL_FILE"
    assert places["worker", "http", "token"] == f"{TOKEN}_FILE"


def test_a_key_that_ends_in_file_keeps_its_own_variable(tmp_path: Path) -> None:
    assert load(None, {"GLASSRABBIT__BROKER__TLS__CA_FILE": "ca.pem"}).broker.tls.ca_file == Path("ca.pem")
    (tmp_path / "name").write_text("ca.pem")
    environ = {"GLASSRABBIT__BROKER__TLS__CA_FILE_FILE": "name"}
    assert load(None, environ).broker.tls.ca_file == Path("ca.pem")


def test_a_file_that_cannot_be_read_is_named_with_its_variable(tmp_path: Path) -> None:
    cure = "Check its name, and who may read it."
    assert problem_of({"BROKER_URL_FILE": "gone"}) == (
        f"BROKER_URL_FILE: gone cannot be read: No such file or directory. {cure}"
    )
    (tmp_path / "odd").write_bytes(b"\xff\xfe")
    assert (
        problem_of({f"{TOKEN}_FILE": "odd"}) == f"{TOKEN}_FILE: odd cannot be read: it is not UTF-8 text. {cure}"
    )


def test_a_value_and_a_file_for_it_are_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("amqp://h/")
    assert problem_of({"BROKER_URL_FILE": "url", "BROKER_URL": "amqp://u:canary@h/"}) == (
        "BROKER_URL_FILE: BROKER_URL is set as well. Leave one of them out."
    )


def test_what_stands_in_a_file_is_shown_by_no_problem(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("amqp:/u:canary@h/")
    assert "canary" not in problem_of({"BROKER_URL_FILE": "url"})


@pytest.mark.parametrize("text", ["amqp://${USER}:x@h/", "amqp://u:${PASS}@h/", "amqp://${HOST}/"])
def test_a_variable_in_the_file_is_refused_and_not_taken_for_a_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text(f'broker:\n  url: "{text}"\n')
    with pytest.raises(ConfigError) as raised:
        load(None, {})
    assert raised.value.problems[0] == (
        "config.yml:2:8: broker.url: ${…} is filled in by nobody. Write the value, or set it by BROKER_URL or "
        "GLASSRABBIT__SECTION__KEY in the environment."
    )


def test_the_arguments_of_a_task_may_have_one(tmp_path: Path) -> None:
    text = "workload: [{task: task_a, arguments: {text: '${HOME}', more: ['${X}']}}]"
    (tmp_path / "config.yml").write_text(text)
    assert load(None, {}).workload[0].arguments == {"text": "${HOME}", "more": ["${X}"]}


@pytest.mark.parametrize(("user", "password"), [("me", ""), ("", "secret")])
def test_the_login_of_the_management_api_is_whole(user: str, password: str) -> None:
    assert problem_of({USER: user, PASSWORD: password}).endswith(
        "management_user and management_password belong together. Give both, or neither."
    )


def test_a_handler_from_whom_the_url_was_kept_learns_so_and_may_bring_its_own() -> None:
    assert problem_of({WITHHELD: "1"}) == (
        "BROKER_URL is kept from handlers. Set worker.handlers_get_login: true for those that send tasks."
    )
    assert load(None, {WITHHELD: "1", "BROKER_URL": "amqp://mine"}).broker.endpoints[0].host == "mine"


def test_that_there_is_no_file_is_logged_and_with_one_there_is_nothing_to_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        load(None, {"BROKER_URL": "amqp://u:canary@h/"})
        [record] = caplog.records
        assert record.getMessage() == (
            f"no config.yml in {tmp_path}: going by the built-in example, with tasks task_a, task_b and the "
            "broker at amqp://u:***@h:5672/"
        )
        caplog.clear()
        (tmp_path / "config.yml").write_text("")
        load(None, {})
        assert not caplog.records
