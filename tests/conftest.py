"""Which brokers the session runs on, and what it says of it at the end."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import pytest

from tests.support.brokers import DEFAULT, IMAGES, LOCAL, Brokers, Wanted, engine_answers, why_not

#: The fixture that every test on a broker depends on.
_FIXTURE = "broker"


@dataclass
class _Session:
    """What there is to know of one run."""

    brokers: Brokers = field(default_factory=Brokers)
    #: Names of the brokers to run on; decided when the first test that needs one is found.
    names: list[str] = field(default_factory=list)
    #: Brokers that cannot be had, and why.
    missing: dict[str, str] = field(default_factory=dict)
    #: Tests that were left out, for want of an engine.
    not_run: list[str] = field(default_factory=list)
    #: Tests that were left out because they take long.
    too_long: list[str] = field(default_factory=list)

    def choose(self, asked: list[str] | None) -> None:
        """Those asked for, else the three versions, else the rabbitmq-server of this machine."""
        if self.names:
            return
        for name in asked or IMAGES:
            problem = why_not(name)
            if problem is None:
                self.names.append(name)
            else:
                self.missing[name] = problem
        if not self.names and not asked and why_not(LOCAL) is None:
            self.names.append(LOCAL)

    def problem(self, asked: list[str] | None) -> str | None:
        """Why the tests must not go on, or None: nobody may believe that it tested what it did not."""
        missing = "; ".join(f"{name}: {problem}" for name, problem in self.missing.items())
        if missing and asked:
            return f"a broker that was asked for cannot be had: {missing}"
        if missing and "CI" in os.environ:
            return f"with CI set the tests must run on every broker: {missing}"
        if missing and not self.names:
            return f"there is no broker to test on: {missing}; {LOCAL}: {why_not(LOCAL)}"
        return None


_SESSION = pytest.StashKey[_Session]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--broker",
        action="append",
        choices=[*IMAGES, LOCAL],
        help="run on this broker alone (may be given again): a RabbitMQ version, or the local rabbitmq-server",
    )

    parser.addoption("--long", action="store_true", help="run the tests that take long as well")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SESSION] = _Session()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if _FIXTURE not in metafunc.fixturenames:
        return
    session = metafunc.config.stash[_SESSION]
    session.choose(metafunc.config.getoption("--broker"))
    names = session.names or [LOCAL]
    everywhere = metafunc.definition.get_closest_marker("every_broker")
    usual = DEFAULT if DEFAULT in names else names[0]
    if everywhere is None:
        names = [usual]
    repeats = everywhere is not None and everywhere.kwargs.get("long", False)
    alone = metafunc.definition.get_closest_marker("own_broker") is not None
    brokers = [
        pytest.param(Wanted(name, alone), marks=pytest.mark.long if repeats and name != usual else (), id=name)
        for name in names
    ]
    metafunc.parametrize(_FIXTURE, brokers, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    session = config.stash[_SESSION]
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        session.too_long += [item.nodeid for item in long]
        items[:] = [item for item in items if item not in long]
    needing = [item for item in items if item.get_closest_marker("containers")]
    if needing and not engine_answers():
        if "CI" in os.environ:
            raise pytest.UsageError("no Docker engine answers, and with CI set the tests that need one must run")
        config.hook.pytest_deselected(items=needing)
        session.not_run += [item.nodeid for item in needing]
        items[:] = [item for item in items if item not in needing]
    problem = session.problem(config.getoption("--broker"))
    if problem is not None:
        raise pytest.UsageError(problem)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    session = config.stash[_SESSION]
    ran_on = [f"RabbitMQ {broker.version}: {broker.how}" for broker in session.brokers.running()]
    left_out = [f"not on {name}: {problem}" for name, problem in session.missing.items()]
    for title, lines in (
        ("brokers", ran_on + left_out),
        ("tests that need containers, and did not run", session.not_run),
        ("tests that take long, and did not run (--long runs them)", session.too_long),
    ):
        if lines:
            terminalreporter.section(title)
            for line in lines:
                terminalreporter.line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_SESSION].brokers.stop()


@pytest.fixture(scope="session")
def brokers(request: pytest.FixtureRequest) -> Brokers:
    """All brokers that the selected tests need, starting side by side."""
    brokers = request.config.stash[_SESSION].brokers
    needed = {
        wanted
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        if isinstance(wanted := item.callspec.params.get(_FIXTURE), Wanted)
    }
    brokers.prepare(sorted(needed))
    return brokers
