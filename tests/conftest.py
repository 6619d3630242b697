"""Which tests a run selects, on which brokers, who runs beside whom, and what the run says of it at the end."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings

from tests.support import turns
from tests.support.brokers import DEFAULT, IMAGES, LOCAL, Brokers, Wanted, why_not
from tests.support.place import OF_FIXTURE, REMEDY, lacks

#: The fixture that every test on a broker depends on.
_FIXTURE = "broker"
#: So much longer tests may take beside others.
_PATIENCE = 3
#: Random examples of a property, by tier.
_EXAMPLES = {"quick": 15, "standard": 100, "long": 1000}
#: Of an object, as ``repr`` shows it.
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
#: What a run with CI set must not go without.
_MUST_BE_HERE = ("engine", "rabbitmq-server")


@dataclass
class _Session:
    """What there is to know of one run, or of one worker's part of it."""

    brokers: Brokers = field(default_factory=Brokers)
    #: The name that its workers know, if there are any.
    run: str | None = None
    #: Names of the brokers to run on; decided when the first test that needs one is found.
    names: list[str] = field(default_factory=list)
    #: Brokers that cannot be had, and why.
    missing: dict[str, str] = field(default_factory=dict)
    #: Brokers that tests ran on. Of these, and of the lists below, workers see the same.
    ran_on: set[str] = field(default_factory=set)
    #: A need that this machine does not meet → the tests that were left out for it.
    lacking: dict[str, list[str]] = field(default_factory=dict)
    #: Tests that are left to a longer tier.
    left: list[str] = field(default_factory=list)

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

    def report(self) -> dict[str, Any]:
        """What is sent from a worker to the one who sums up."""
        ran_on = sorted(self.ran_on | {f"RabbitMQ {one.version}: {one.how}" for one in self.brokers.running()})
        return {"ran_on": ran_on, "lacking": self.lacking, "left": self.left}

    def add(self, report: dict[str, Any]) -> None:
        self.ran_on |= set(report["ran_on"])
        self.lacking, self.left = report["lacking"], report["left"]


_SESSION = pytest.StashKey[_Session]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--broker",
        action="append",
        choices=[*IMAGES, LOCAL],
        help="run on this broker alone (may be given again): a RabbitMQ version, or the local rabbitmq-server",
    )
    parser.addoption("--long", action="store_true", help="run the tests that take long as well")
    parser.addoption("--quick", action="store_true", help="leave out what needs a broker or an engine")


def pytest_configure(config: pytest.Config) -> None:
    session = config.stash[_SESSION] = _Session()
    session.names, session.missing = getattr(config, "workerinput", {}).get("brokers", ([], {}))
    for name, examples in _EXAMPLES.items():
        usual = settings.get_profile("ci" if "CI" in os.environ else "default")
        settings.register_profile(name, usual, max_examples=examples, deadline=None)
    settings.load_profile(_tier(config))
    if getattr(config.option, "numprocesses", None):
        # By file: its tests share costly fixtures, and a broker of their own.
        config.option.dist = "loadfile"
        config.option.loadscopereorder = False


def _tier(config: pytest.Config) -> str:
    return next((tier for tier in ("quick", "long") if config.getoption(tier)), "standard")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """One process decides on the brokers: all workers have to find the same tests."""
    if _tier(config) != "quick":
        _choose(config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    session = node.config.stash[_SESSION]
    node.workerinput["brokers"] = (session.names, session.missing)
    session.run = node.workerinput["testrunuid"]


def _choose(config: pytest.Config) -> None:
    session, asked = config.stash[_SESSION], config.getoption("--broker")
    session.choose(asked)
    problem = session.problem(asked)
    if problem is not None:
        raise pytest.UsageError(problem)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if _FIXTURE not in metafunc.fixturenames:
        return
    session = metafunc.config.stash[_SESSION]
    if _tier(metafunc.config) != "quick" and not hasattr(metafunc.config, "workerinput"):
        _choose(metafunc.config)
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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    session, tier, kept = config.stash[_SESSION], _tier(config), list[pytest.Item]()
    for item in items:
        lacking = [need for need in _needs(item) if lacks(need)]
        if _is_of_longer_tier(item, tier):
            session.left.append(item.nodeid)
        elif lacking:
            session.lacking.setdefault(lacking[0], []).append(item.nodeid)
        else:
            kept.append(item)
    if "CI" in os.environ and (lacking := [need for need in _MUST_BE_HERE if need in session.lacking]):
        raise pytest.UsageError(f"with CI set the tests must have: {', '.join(lacking)}")
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    if unstable := [item.nodeid for item in items if _ADDRESS.search(item.nodeid)]:
        raise pytest.UsageError(f"each process would name these tests otherwise; give them ids: {unstable}")
    if hasattr(config, "workerinput"):
        for item in kept:
            item.add_marker(pytest.mark.timeout(_PATIENCE * _within_s(item)), append=False)
        kept.sort(key=_order)
    items[:] = kept


def _is_of_longer_tier(item: pytest.Item, tier: str) -> bool:
    if tier == "quick" and (_wanted(item) or "engine" in _needs(item)):
        return True
    return tier != "long" and item.get_closest_marker("long") is not None


def _needs(item: pytest.Item) -> list[str]:
    """What a test needs of the machine."""
    needs = [need for mark in item.iter_markers("needs") for need in mark.args]
    if item.get_closest_marker("containers"):
        needs.append("engine")
    if isinstance(item, pytest.Function):
        needs += [OF_FIXTURE[name] for name in item.fixturenames if name in OF_FIXTURE]
    return needs


def _wanted(item: pytest.Item) -> Wanted | None:
    """The broker that a test runs on."""
    found = item.callspec.params.get(_FIXTURE) if hasattr(item, "callspec") else None
    assert found is None or isinstance(found, Wanted)
    return found


def _is_heavy(item: pytest.Item) -> bool:
    """Whether it has a broker of its own, or shares a costly fixture with the rest of its file."""
    wanted = _wanted(item)
    fixtures = item._fixtureinfo.name2fixturedefs if isinstance(item, pytest.Function) else {}
    is_sharing = any(definitions[-1].scope == "module" for definitions in fixtures.values())
    return (wanted is not None and wanted.alone) or is_sharing


def _within_s(item: pytest.Item) -> float:
    """How long a test may take."""
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0] if mark else item.config.getini("timeout"))


def _order(item: pytest.Item) -> tuple[bool, bool, float]:
    """What takes long comes first, and what runs alone last, so that nobody waits long for others to end."""
    return item.get_closest_marker("alone") is not None, not _is_heavy(item), -_within_s(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Each waits for its turn and its broker first, and its time begins afterwards."""
    workerinput = getattr(item.config, "workerinput", None)
    with contextlib.ExitStack() as stack:
        if workerinput is not None:
            alone = item.get_closest_marker("alone") is not None
            stack.enter_context(turns.turn(workerinput["testrunuid"], alone=alone))
        if (wanted := _wanted(item)) is not None:
            # What keeps a broker from starting is raised by the fixture.
            with contextlib.suppress(Exception):
                item.config.stash[_SESSION].brokers.get(wanted)
        return (yield)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["report"] = session.config.stash[_SESSION].report()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    # One that crashed has no output.
    if report := getattr(node, "workeroutput", {}).get("report"):
        node.config.stash[_SESSION].add(report)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    session = config.stash[_SESSION]
    ran_on = session.report()["ran_on"]
    left_out = [f"not on {name}: {problem}" for name, problem in session.missing.items()]
    sections = {"brokers": ran_on + left_out}
    for need, tests in session.lacking.items():
        sections[f"this place has no {need} ({REMEDY.get(need, 'install it')}), so these did not run"] = tests
    if session.left:
        next_tier = "make test" if _tier(config) == "quick" else "make test-long"
        sections[f"left to {next_tier}"] = session.left
    for title, lines in sections.items():
        if lines:
            terminalreporter.section(title)
            for line in lines:
                terminalreporter.line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    session = config.stash[_SESSION]
    session.brokers.stop()
    if session.run is not None:
        turns.over(session.run)


@pytest.fixture(scope="session")
def brokers(request: pytest.FixtureRequest) -> Brokers:
    """All brokers that the selected tests need, starting side by side."""
    brokers = request.config.stash[_SESSION].brokers
    needed = {wanted for item in request.session.items if (wanted := _wanted(item)) is not None}
    # Of brokers of their own each worker starts those of its own tests alone.
    is_worker = hasattr(request.config, "workerinput")
    brokers.prepare(sorted(wanted for wanted in needed if not (is_worker and wanted.alone)))
    return brokers
