"""What pytest loads: options, a marker, three fixtures. Imports no broker before one of these is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from glassrabbit_testing.brokers import Brokers
    from glassrabbit_testing.glass import Glass
    from glassrabbit_testing.rabbit import Rabbit
    from glassrabbit_testing.vhost import RabbitVhost

_OWN = "own_rabbit"
_FAILED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rabbit", "tests on RabbitMQ")
    group.addoption(
        "--rabbit",
        metavar="VERSIONS",
        help="run each test that uses RabbitMQ on all of these: 3.10,4.0,4.3 in containers, or local; the default "
        "is one: BROKER_URL, else rabbitmq-server of this machine, else a container",
    )
    group.addoption(
        "--rabbit-faults",
        action="store_true",
        help=f"with BROKER_URL set, start a second broker for the tests marked {_OWN}",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"{_OWN}: may restart, freeze or alarm its broker, as no other test uses it"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    named = metafunc.config.getoption("--rabbit")
    is_alone = metafunc.definition.get_closest_marker(_OWN) is not None
    if "rabbit" in metafunc.fixturenames and (named or is_alone):
        brokers = [pytest.param((name, is_alone), id=name or "own") for name in _names(named)]
        metafunc.parametrize("rabbit", brokers, indirect=True, scope="session")


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    # What a test leaves behind that fails anyway is no news.
    item.stash[_FAILED] = call.excinfo is not None or item.stash.get(_FAILED, False)


def _names(named: str | None) -> list[str | None]:
    if named is None:
        return [None]
    from glassrabbit_testing.nodes import IMAGES, LOCAL

    if unknown := set(names := named.split(",")) - {*IMAGES, LOCAL}:
        raise pytest.UsageError(f"--rabbit takes {', '.join([*IMAGES, LOCAL])}, not {', '.join(sorted(unknown))}")
    return [*names]


@pytest.fixture(scope="session")
def _rabbits() -> Iterator[Brokers]:
    from glassrabbit_testing.brokers import Brokers

    brokers = Brokers()
    yield brokers
    brokers.stop()


@pytest.fixture(scope="session")
def rabbit(request: pytest.FixtureRequest, _rabbits: Brokers) -> Rabbit:
    """The RabbitMQ of this session, the same one in all workers of pytest-xdist. Started when it is first used."""
    from glassrabbit_testing.rabbit import Rabbit

    name, is_alone = getattr(request, "param", (None, False))
    return Rabbit(_rabbits, name, alone=is_alone, faults=request.config.getoption("--rabbit-faults"))


@pytest.fixture
def rabbit_vhost(rabbit: Rabbit) -> Iterator[RabbitVhost]:
    """A virtual host of this test's own, made when it is first used, and gone afterwards."""
    from glassrabbit_testing.vhost import RabbitVhost

    with RabbitVhost(rabbit) as vhost:
        yield vhost


@pytest.fixture
def glass(rabbit_vhost: RabbitVhost, request: pytest.FixtureRequest) -> Iterator[Glass]:
    """Your configuration (``GLASSRABBIT_CONFIG``, else ``config.yml`` of the root folder) in a virtual host of its
    own. Workers that the test starts end with it, and what it leaves behind fails it."""
    from glassrabbit_testing.glass import Glass

    glass = Glass(rabbit_vhost, request.config.rootpath)
    yield glass
    glass.close(leftovers_fail=not request.node.stash.get(_FAILED, False))
