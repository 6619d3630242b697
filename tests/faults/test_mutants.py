"""The checker of the campaign is not blind: each planted bug is caught by name, and only the bug trips it.

Several stages are played at a time, each in a vhost of its own, and nothing beside them; a test waits for its own.
What happens on them stands in ``tests.chaos.scenario``; ``python -m tests.chaos.mutant --list`` shows the bugs.
The standard tier plants one bug for each invariant that breaks without a fault; the long tier plants all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from tests.chaos.checker import INVARIANTS, Verdict
from tests.chaos.mutants import ALONE, BY_NAME, MUTANTS, OF_A_CLUSTER, Mutant, Scenario
from tests.chaos.scenario import play
from tests.support.brokers import Broker

AT_ONCE = 6
#: All of them, on a machine that does other things as well.
WITHIN_S = 900

pytestmark = [pytest.mark.timeout(WITHIN_S), pytest.mark.alone]


@dataclass(frozen=True)
class Played:
    """A scenario, with a bug or without."""

    scenario: Scenario
    mutant: Mutant | None = None

    def __str__(self) -> str:
        return self.scenario if self.mutant is None else self.mutant.name


#: What the standard tier plants.
USUAL = {
    "nothing",
    "ack_before_reply_confirm",
    "retried_as_another",
    "backoff_ignored",
    "letter_forgotten",
    "prefetch_ignored",
    "failure_before_letter",
    "asked_again_in_impatience",
    "delays_in_other_units",
}
ALL = [
    *(Played(scenario) for scenario in get_args(Scenario) if scenario not in OF_A_CLUSTER),
    *(Played(mutant.scenario, mutant) for mutant in MUTANTS if mutant.broker is None),
]
COPIED = BY_NAME["broker_headers_copied"]


def of_its_tier(played: Played) -> object:
    return pytest.param(played, id=str(played), marks=() if str(played) in USUAL else pytest.mark.long)


CONTROLS = [of_its_tier(one) for one in ALL if one.mutant is None and one.scenario not in ALONE]
BUGS = [of_its_tier(one) for one in ALL if one.mutant is not None and one.scenario not in ALONE]


@pytest.fixture(scope="session")
def verdicts(
    broker: Broker, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[Played, Future[Verdict]]]:
    """Of all that the selected tests ask for."""
    parameters = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    asked = [value for values in parameters if isinstance(value := values.get("played"), Played)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        playing = {
            played: pool.submit(judged, played, broker, tmp_path_factory.mktemp(str(played))) for played in asked
        }
        yield playing
        for future in playing.values():
            future.cancel()
    bugs = {played.mutant: future for played, future in playing.items() if played.mutant is not None}
    ended = {bug: future for bug, future in bugs.items() if not future.cancelled() and not future.exception()}
    caught = [bug.name for bug, future in ended.items() if is_caught(bug, future.result())]
    capturing = request.config.pluginmanager.getplugin("capturemanager")
    with capturing.global_and_fixture_disabled():
        print(f"\nmutants caught: {len(caught)} of {len(bugs)}: {', '.join(caught)}")


def judged(played: Played, broker: Broker, folder: Path) -> Verdict:
    return play(played.scenario, broker, folder, None if played.mutant is None else played.mutant.name)


def is_caught(mutant: Mutant, verdict: Verdict) -> bool:
    return verdict.state == "broken" and mutant.caught_by <= set(verdict.broken)


def told(verdict: Verdict) -> str:
    """A verdict in words, short."""
    lines = [f"{name}: {len(texts)}, {texts[0]}" for name, texts in verdict.broken.items()]
    return "\n  ".join([f"{verdict.state} {verdict.text}", *lines])


@pytest.mark.parametrize("played", CONTROLS)
def test_without_a_bug_the_checker_finds_nothing(
    played: Played, verdicts: Mapping[Played, Future[Verdict]]
) -> None:
    verdict = verdicts[played].result()
    assert verdict.state == "pass", told(verdict)


@pytest.mark.parametrize("played", BUGS)
def test_a_planted_bug_is_caught_by_the_invariant_that_it_breaks(
    played: Played, verdicts: Mapping[Played, Future[Verdict]]
) -> None:
    assert played.mutant is not None
    verdict = verdicts[played].result()
    assert is_caught(played.mutant, verdict), f"{sorted(played.mutant.caught_by)} expected, {told(verdict)}"


@pytest.mark.long
@pytest.mark.own_broker
@pytest.mark.parametrize("alone", [played for played in ALL if played.scenario in ALONE], ids=str)
def test_what_changes_the_broker_reveals_the_bugs_that_are_planted_for_it_and_nothing_else(
    alone: Played, broker: Broker, tmp_path: Path
) -> None:
    verdict = judged(alone, broker, tmp_path)
    if alone.mutant is None:
        assert verdict.state == "pass", told(verdict)
    else:
        assert is_caught(alone.mutant, verdict), f"{sorted(alone.mutant.caught_by)} expected, {told(verdict)}"


@pytest.mark.long
@pytest.mark.every_broker
def test_copied_broker_headers_lose_tasks_on_rabbitmq_3_and_nowhere_else(broker: Broker, tmp_path: Path) -> None:
    verdict = play(COPIED.scenario, broker, tmp_path, COPIED.name)
    if broker.version.startswith("3."):
        assert is_caught(COPIED, verdict), told(verdict)
    else:
        assert verdict.state == "pass", told(verdict)


def test_every_bug_says_what_it_does_and_names_invariants_of_the_checker() -> None:
    assert len(BY_NAME) == len(MUTANTS)
    for mutant in MUTANTS:
        assert mutant.text, mutant.name
        assert mutant.caught_by, mutant.name
        assert mutant.caught_by <= set(INVARIANTS), mutant.name
