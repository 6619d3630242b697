"""Commands find the management API of the detached broker, and take no other broker for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from broker.config.settings import BrokerSettings
from broker.management import Management

NOTED = {"pid": "1", "url": "amqp://guest:guest@127.0.0.1:24056/", "management_url": "http://127.0.0.1:31000"}


def base_url(folder: Path, noted: str, url: str, monkeypatch: pytest.MonkeyPatch, **further: str) -> str:
    """Where the API is looked for, with this noted of a detached broker."""
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    (folder / "glassrabbit").mkdir()
    (folder / "glassrabbit" / "node.json").write_text(noted)
    return Management.of(BrokerSettings.model_validate({"url": url, **further})).base_url


def test_the_api_of_the_detached_broker_is_where_it_was_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for_it = base_url(tmp_path, json.dumps(NOTED), "amqp://guest:guest@127.0.0.1:24056/other", monkeypatch)
    assert for_it == "http://127.0.0.1:31000"


@pytest.mark.parametrize("noted", [json.dumps(NOTED), "", "[]", "{}", '{"url": 7}', '{"url": "amqp://[/"}'])
def test_any_other_broker_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: str) -> None:
    elsewhere = base_url(tmp_path, noted, "amqp://guest:guest@127.0.0.1:24057/", monkeypatch)
    assert elsewhere == "http://127.0.0.1:15672"


def test_what_is_configured_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"management_url": "http://127.0.0.1:15000"}
    assert base_url(tmp_path, json.dumps(NOTED), NOTED["url"], monkeypatch, **said) == "http://127.0.0.1:15000"
