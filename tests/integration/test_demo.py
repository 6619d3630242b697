"""The demo never meets a task of somebody else's, and leaves nothing behind."""

from __future__ import annotations

import pytest

from tests.support.commands import command
from tests.support.installation import Installation
from tests.support.management import Management

_WITHIN_S = 60


def test_at_a_broker_without_management_it_refuses_a_vhost_that_is_in_use(installation: Installation) -> None:
    installation.declare()
    task_id = installation.caller().submit("echo")

    ended = command(installation.environment, "dispatcher", "demo", within_s=_WITHIN_S)

    assert ended.code == 1
    assert "unset BROKER_URL" in ended.err
    [letter] = installation.vhost.messages("queue_a")
    assert letter.properties.message_id == task_id


def test_at_a_broker_without_management_an_empty_vhost_is_empty_again(installation: Installation) -> None:
    logs = {"GLASSRABBIT_LOG_FORMAT": "json"}
    ended = command({**installation.environment, **logs}, "dispatcher", "demo", within_s=_WITHIN_S)

    assert ended.code == 0, ended.err
    assert "consumes queue_a, 2 at a time\n" in ended.err
    assert "10 of 10 done" in ended.out
    assert not installation.vhost.exists("queue_a")
    assert not installation.vhost.exists("queue_a.dead")


@pytest.mark.own_broker
def test_with_management_it_has_a_vhost_of_its_own(installation: Installation) -> None:
    management = installation.vhost.broker.management
    installation.declare()
    installation.caller().submit("echo")
    before = _vhosts(management)

    further = {"GLASSRABBIT__BROKER__MANAGEMENT_URL": management.url}
    ended = command({**installation.environment, **further}, "dispatcher", "demo", within_s=_WITHIN_S)

    assert ended.code == 0, ended.err
    assert _vhosts(management) == before
    assert installation.vhost.ready("queue_a") == 1


def _vhosts(management: Management) -> set[str]:
    return {vhost["name"] for vhost in management.get("vhosts") if vhost["name"].startswith("glassrabbit-demo")}
