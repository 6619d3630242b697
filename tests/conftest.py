"""Which brokers the session runs on, and what it says of it at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.brokers import DEFAULT, IMAGES, LOCAL, Brokers, engine_answers, why_not

_BROKERS = pytest.StashKey[Brokers]()
_NOT_RUN = pytest.StashKey[list[str]]()
#: The fixture that every test on a broker depends on.
_FIXTURE = "broker"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--broker",
        action="append",
        choices=[*IMAGES, LOCAL],
        help="run on this broker alone (may be given again): a RabbitMQ version, or the local rabbitmq-server",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_BROKERS] = Brokers()
    config.stash[_NOT_RUN] = []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if _FIXTURE not in metafunc.fixturenames:
        return
    every = metafunc.definition.get_closest_marker("every_broker") is not None
    names = _chosen(metafunc.config)
    preferred = DEFAULT if DEFAULT in names else names[0]
    metafunc.parametrize(_FIXTURE, names if every else [preferred], indirect=True, scope="session")


def _chosen(config: pytest.Config) -> list[str]:
    """The brokers of this session: those asked for, else three versions, else the local node."""
    asked: list[str] = config.getoption("--broker") or list(IMAGES)
    problems = {name: problem for name in asked if (problem := why_not(name)) is not None}
    if problems and (config.getoption("--broker") or "CI" in os.environ):
        raise pytest.UsageError("; ".join(f"broker {name}: {problem}" for name, problem in problems.items()))
    names = [name for name in asked if name not in problems]
    if names:
        return names
    if (problem := why_not(LOCAL)) is not None:
        raise pytest.UsageError(f"there is no broker to test on: {problem}, and no Docker engine answers")
    return [LOCAL]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    needing = [item for item in items if item.get_closest_marker("containers")]
    if not needing or engine_answers():
        return
    if "CI" in os.environ:
        raise pytest.UsageError("no Docker engine answers, and with CI set the tests that need one must run")
    config.hook.pytest_deselected(items=needing)
    config.stash[_NOT_RUN] += [item.nodeid for item in needing]
    items[:] = [item for item in items if item not in needing]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ran_on = [f"RabbitMQ {broker.version} ({broker.how})" for broker in config.stash[_BROKERS].running()]
    if ran_on:
        terminalreporter.section("brokers")
        for line in ran_on:
            terminalreporter.line(line)
    if config.stash[_NOT_RUN]:
        terminalreporter.section("not run: no Docker engine answers")
        for nodeid in config.stash[_NOT_RUN]:
            terminalreporter.line(nodeid)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_BROKERS].stop()


@pytest.fixture(scope="session")
def brokers(request: pytest.FixtureRequest) -> Iterator[Brokers]:
    """All brokers that the selected tests need, starting side by side."""
    brokers = request.config.stash[_BROKERS]
    needed = {
        item.callspec.params[_FIXTURE]
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and _FIXTURE in item.callspec.params
    }
    brokers.prepare(sorted(needed))
    return brokers
