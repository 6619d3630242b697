"""A broker, a vhost of its own for each test, and an installation on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.config.settings import Settings
from tests.support.brokers import Broker, Brokers, Wanted
from tests.support.caller import Caller
from tests.support.installation import Install, Installation
from tests.support.vhost import Vhost, vhost_of


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest, brokers: Brokers) -> Broker:
    """A running broker, shared with others unless the test is marked ``own_broker``. Marked ``every_broker``, a
    test runs on each version."""
    wanted: Wanted = request.param
    return brokers.get(wanted)


@pytest.fixture
def vhost(broker: Broker) -> Iterator[Vhost]:
    """A vhost of its own. A broker that the test killed or paused is back afterwards."""
    with vhost_of(broker, "test") as vhost:
        yield vhost


@pytest.fixture
def install(vhost: Vhost, tmp_path: Path) -> Iterator[Install]:
    """Makes an installation; keywords change its configuration: ``install(worker={"concurrency": 1})``."""
    made: list[Installation] = []

    def make(**changes: Any) -> Installation:
        folder = tmp_path / f"installation-{len(made)}"
        folder.mkdir()
        made.append(Installation(vhost, folder, changes))
        return made[-1]

    yield make
    for installation in reversed(made):
        installation.close()


@pytest.fixture
def installation(install: Install) -> Installation:
    """The usual installation: see ``base_configuration``."""
    return install()


@pytest.fixture
def settings(installation: Installation) -> Settings:
    return installation.settings


@pytest.fixture
def caller(installation: Installation) -> Caller:
    """A dispatcher of the usual installation, in this process."""
    return installation.caller()
