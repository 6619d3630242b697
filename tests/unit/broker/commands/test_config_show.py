"""``config show``: every value that takes effect, and where it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.commands.config_rows import Row, rows
from broker.config.loader import with_places
from broker.config.settings import Settings

TEXT = """\
broker: {url: [amqp://u:canary@h1/v, amqps://u:canary@h2/v], heartbeat_s: null}
queues:
  queue_a: {prefetch: 7}
  queue_b:
tasks:
  files.sum: {queue: queue_a, handler: "m:f", retry: {jitter: 0.5}}
defaults:
  retry:
    max_retries: 1
workload:
  - {task: files.sum, arguments: {url: "https://u:canary@h/?a=1", password: canary, n: [1, {token: canary}]}}
mailboxes: [a, b]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shown(text: str | None, **environ: str) -> dict[str, Row]:
    if text is not None:
        Path("config.yml").write_text(text)
    return {row.key: row for row in rows(*with_places(None, environ))}


def origins(text: str, **environ: str) -> dict[str, str]:
    return {key: row.origin for key, row in shown(text, **environ).items()}


def test_each_value_says_where_it_comes_from() -> None:
    found = origins(TEXT, GLASSRABBIT__WORKER__CONCURRENCY="5", GLASSRABBIT__TASKS__FILES_SUM__TIMEOUT_S="9")
    assert found["broker.url[1]"] == "config.yml:1"
    assert found["broker.heartbeat_s"] == "default"
    assert found["broker.management_url"] == "default: from broker.url"
    assert found["queues.queue_a.prefetch"] == "config.yml:3"
    assert found["queues.queue_a.delivery_limit"] == "default"
    assert found["queues.queue_b.prefetch"] == "default: worker.concurrency + 2, at first"
    assert found["tasks.files.sum.handler"] == "config.yml:6"
    assert found["tasks.files.sum.retry.jitter"] == "config.yml:6"
    assert found["tasks.files.sum.retry.max_retries"] == "config.yml:9, defaults.retry.max_retries"
    assert found["tasks.files.sum.retry.backoff_s"] == "default"
    assert found["tasks.files.sum.timeout_s"] == "GLASSRABBIT__TASKS__FILES_SUM__TIMEOUT_S"
    assert found["worker.concurrency"] == "GLASSRABBIT__WORKER__CONCURRENCY"
    assert found["workload[0].arguments"] == "config.yml:11"
    assert found["mailboxes"] == "config.yml:12"
    assert found["replies"] == "default"


def test_each_value_is_the_one_that_takes_effect() -> None:
    found = shown(TEXT, GLASSRABBIT__WORKER__CONCURRENCY="5")
    values = {key: row.value for key, row in found.items()}
    assert values["queues.queue_a.prefetch"] == 7
    assert values["queues.queue_b.prefetch"] == 7
    assert values["broker.heartbeat_s"] == 30
    assert values["broker.management_url"] == "http://h1:15672"
    assert values["tasks.files.sum.retry.max_retries"] == 1
    assert values["mailboxes"] == ["a", "b"]
    assert found["tasks.files.sum.retry.backoff_s"].text == "[5.0, 10.0, 20.0]"
    assert found["broker.tls.ca_file"].text == "null"


def test_no_password_is_shown() -> None:
    for found in (shown(TEXT), shown(TEXT, BROKER_URL="amqp://u:canary@h3", GLASSRABBIT__WORKER__GRACE_S="1")):
        assert "canary" not in "".join(f"{row} {row.text}" for row in found.values())
        assert "***" in found["broker.url[0]"].text


def test_a_variable_takes_the_place_of_all_urls() -> None:
    found = shown(TEXT, BROKER_URL="amqp://u:p@h3/v")
    urls = [(row.text, row.origin) for key, row in found.items() if key.startswith("broker.url")]
    assert urls == [("amqp://u:***@h3:5672/v", "BROKER_URL")]


def test_without_a_file_all_is_default() -> None:
    found = shown(None)
    assert {row.origin.partition(":")[0] for row in found.values()} == {"default"}
    assert found["tasks.task_a.handler"].value == "worker.tasks:task_a"


def test_one_url_that_is_no_list_has_its_line_too() -> None:
    assert origins("broker:\n  url: amqp://h/\n")["broker.url[0]"] == "config.yml:2"


def test_every_key_has_a_row() -> None:
    found = shown(TEXT)
    for section, settings in Settings().model_dump(by_alias=True, exclude={"path"}).items():
        assert any(key.partition(".")[0].partition("[")[0] == section for key in found), section
        if section in ("worker", "limits"):
            for key in settings:
                assert any(row == f"{section}.{key}" or row.startswith(f"{section}.{key}.") for row in found)
