"""docker/prometheus and docker/grafana: right in Prometheus's own eyes, and about numbers that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.amqp.traffic import Traffic
from broker.config.settings import Settings
from dispatcher import metrics as dispatcher_metrics
from protocol.limits import DEFAULT_LIMITS
from tests.support.pages import block_with, section, unsaid
from worker.execution.runner import Runner
from worker.execution.thread_executor import ThreadExecutor
from worker.telemetry import snapshot as worker_metrics
from worker.telemetry.meter import Meter

_ROOT = Path(__file__).parents[2]
_PROMETHEUS = _ROOT / "docker" / "prometheus"
_PAGE = section("docs/operations.md", "Health and metrics")
_DASHBOARD = _ROOT / "docker" / "grafana" / "glassrabbit.json"
_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
#: What Prometheus and the library say of any process, and RabbitMQ of its queues.
_OTHERS = {
    "up", "process_resident_memory_bytes",
    "rabbitmq_detailed_queue_messages_ready", "rabbitmq_detailed_queue_consumers",
}  # fmt: skip
_NAME = re.compile(r"\b(?:glassrabbit|rabbitmq|process)_[a-z_]+|\bup\b")


@pytest.fixture(scope="session")
def promtool() -> str:
    """Comes with Prometheus: Debian's and Ubuntu's package of that name. Tests with it do not run elsewhere."""
    found = shutil.which("promtool")
    assert found is not None
    return found


def check(promtool: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [promtool, *map(str, arguments)], cwd=_PROMETHEUS, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class _Nobody:
    """Submits nothing, and so gets nothing."""

    def ended(self, *_: object) -> None: ...
    def ended_alone(self, *_: object) -> None: ...
    def postpone(self, *_: object) -> None: ...
    def give_back(self, *_: object) -> None: ...
    def over(self, *_: object) -> None: ...


def known() -> set[str]:
    """The names of all series of workers and dispatchers."""
    settings = Settings.model_validate(
        {
            "queues": {"q": {}},
            "breakers": {"b": {}},
            "tasks": {"t": {"queue": "q", "handler": "m:f", "breaker": "b"}},
        }
    )
    runner = Runner(settings, {"t": ThreadExecutor(1, {}, DEFAULT_LIMITS)}, None, _Nobody())
    metered = [*Meter([]).families(), *runner.families()]
    snapshot = worker_metrics.Snapshot(
        identity="", prefetch={}, is_ready=True, busy=0, concurrency=0, unacked=0, refused=0, obituaries=0,
        child_restarts=0, reconnects={}, traffic=Traffic(), blocked_s=0, metered=metered,
    )  # fmt: skip
    nothing = dispatcher_metrics.Metrics(
        published=0, confirmed=0, returned=0, nacked=0, lost=0, replies=0, duplicates=0, strangers=0, in_flight=0,
        reconnects=0, blocked_s=0,
    )  # fmt: skip
    return {
        family.name + suffix
        for family in [*worker_metrics.families(snapshot), *dispatcher_metrics.families(nothing)]
        for suffix in _SUFFIXES[family.kind]
    }


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((_PROMETHEUS / "alerts.yml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def expressions() -> list[str]:
    """Of the dashboard, as Grafana sends them."""
    panels = json.loads(_DASHBOARD.read_text())["panels"]
    return [
        target["expr"].replace("$__rate_interval", "1m").replace("${datasource}", "")
        for panel in panels
        for target in panel["targets"]
    ]


def test_the_scrape_configuration_is_right(promtool: str) -> None:
    check(promtool, "check", "config", "--syntax-only", "prometheus.yml")


def test_the_alert_rules_are_right(promtool: str) -> None:
    assert f"{len(alerts())} rules found" in check(promtool, "check", "rules", "alerts.yml")


def test_each_alert_is_raised_by_what_it_is_for_and_silent_while_all_is_well(promtool: str) -> None:
    check(promtool, "test", "rules", "alerts_test.yml")

    proved = (_PROMETHEUS / "alerts_test.yml").read_text()
    assert [alert["alert"] for alert in alerts() if f'alertname="{alert["alert"]}"' not in proved] == []


def test_the_dashboard_asks_what_prometheus_understands(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions())]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    check(promtool, "check", "rules", tmp_path / "rules.yml")


def test_alerts_and_dashboard_are_about_series_that_there_are() -> None:
    asked = {
        name for text in [*expressions(), *(alert["expr"] for alert in alerts())] for name in _NAME.findall(text)
    }

    assert asked - known() - _OTHERS == set()
    assert asked & known()


def test_every_alert_says_how_bad_it_is_what_it_is_and_what_to_do() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in ("critical", "warning"), alert
        assert set(alert["annotations"]) == {"summary", "description"}, alert


def test_the_workers_that_are_scraped_are_those_of_compose() -> None:
    workers, _ = yaml.safe_load((_PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    services = yaml.safe_load((_ROOT / "compose.yaml").read_text())["services"]
    named = workers["dns_sd_configs"][0]["names"]
    assert set(named) == {name for name in services if name.startswith("worker-")}


def test_every_series_is_explained_in_the_operations_page() -> None:
    assert [name for name in sorted(families_by_name()) if f"`{name}`" not in _PAGE] == []


def test_the_rules_can_be_proved_as_the_operations_page_says(promtool: str) -> None:
    assert unsaid(block_with(_PAGE, "console", "promtool")) == []


def families_by_name() -> set[str]:
    return {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in known()}
