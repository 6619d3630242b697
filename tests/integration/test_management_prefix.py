"""A management API that is not at the root of its server, as behind a proxy: ``management.path_prefix``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.error import HTTPError

import pytest

from tests.integration.test_topology_commands import with_management
from tests.support.brokers import Broker
from tests.support.commands import command
from tests.support.installation import Install
from tests.support.vhost import Vhost
from tests.support.waiting import eventually

PREFIX = "/mq"
#: The plugin reads its prefix when it is started.
_AT = """
ok = application:stop(rabbitmq_management),
ok = application:set_env(rabbitmq_management, path_prefix, "{prefix}"),
ok = application:start(rabbitmq_management).
"""

pytestmark = [pytest.mark.long, pytest.mark.own_broker, pytest.mark.every_broker(long=True)]


@pytest.fixture
def moved(vhost: Vhost, broker: Broker) -> Iterator[Vhost]:
    """A virtual host of a broker whose management API is below ``PREFIX``."""
    broker.ctl("eval", _AT.format(prefix=PREFIX))
    try:
        yield vhost
    finally:
        broker.ctl("eval", _AT.format(prefix=""))
        eventually(lambda: is_at_the_root(vhost), "the management API is where it was")


def is_at_the_root(vhost: Vhost) -> bool:
    try:
        vhost.broker.management.get("queues", vhost.name)
    except (HTTPError, OSError):
        return False
    return True


def test_commands_find_it_with_its_prefix_and_say_without_what_may_be_missing(
    install: Install, moved: Vhost
) -> None:
    root = moved.broker.management.url
    installation = with_management(install, moved, broker={"management_url": root + PREFIX})
    declared = command(installation.environment, "broker", "declare")
    assert declared.code == 0, declared.err
    assert command(installation.environment, "broker", "diff").out == "no differences\n"
    status = command(installation.environment, "broker", "status", "-o", "json")
    assert status.code == 0, status.err
    assert "queue_a" in {queue["name"] for queue in json.loads(status.out)["queues"]}

    without = {**installation.environment, "GLASSRABBIT__BROKER__MANAGEMENT_URL": root}
    diff = command(without, "broker", "diff")
    assert "management.path_prefix belongs to it. Bindings were not compared." in diff.err
