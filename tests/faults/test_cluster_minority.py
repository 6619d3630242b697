"""Two of three nodes stopped: each command ends in time with the right code, and goes on when they are back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.chaos.scenario import play
from tests.support.asking import ASKING, ask_all
from tests.support.cluster import Cluster
from tests.support.commands import Ended
from tests.support.slowness import in_time
from tests.support.spread import Spread, installed, running
from tests.support.steering import CONTROL
from tests.support.vhost import body, task
from tests.support.waiting import eventually

pytestmark = [pytest.mark.containers, pytest.mark.long, pytest.mark.timeout(400)]

TIMEOUT_S, GRACE_S, START_S = 6.0, 2.0, 3.0
#: Of commands that go on until there is a majority again, and of that.
PATIENT_S, BACK_S = 120.0, 60.0
#: What a node that keeps its clients without a majority, as one of RabbitMQ 4.3 does, still knows by itself.
ANSWERED = {"broker diff": 0}
ASKED_LATER = ["broker status", "broker declare", "broker dead list", "dispatcher collect", "dispatcher submit"]


@pytest.fixture(params=["4.0", "4.3"], scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with running(request.param) as cluster:
        yield cluster


@pytest.fixture
def spread(cluster: Cluster, tmp_path: Path) -> Iterator[Spread]:
    with installed(cluster, tmp_path, control=CONTROL) as spread:
        spread.vhost.publish("tasks.dead", "queue_a", body(), task(headers={"v": 1, "reason": "rejected"}))
        yield spread


def codes(ended: dict[str, Ended]) -> dict[str, int]:
    return {name: one.code for name, one in ended.items()}


def test_each_command_ends_in_time_and_what_is_patient_succeeds_when_the_nodes_are_back(spread: Spread) -> None:
    cluster = spread.cluster
    environment = {**spread.installation.environment, "GLASSRABBIT__WORKLOAD": '[{"task": "echo"}]'}
    first, *lost = cluster.members
    cluster.lose(*lost)
    # RabbitMQ 4.0 closes its listeners; 4.3 keeps them, and its queues have no leader.
    closes = cluster.name == "4.0"
    alone = (lambda: not first.is_open) if closes else (lambda: first.sees() == {first.node})
    eventually(alone, "the end of the majority", 60)

    before = sum(proxy.accepted for proxy in spread.dispatchers)
    ended = ask_all({**environment, "BROKER_URL": spread.url(spread.dispatchers)}, TIMEOUT_S)
    connections = sum(proxy.accepted for proxy in spread.dispatchers) - before

    print({name: (one.code, round(one.wall_s, 1), one.err[:200]) for name, one in ended.items()})
    expected = dict.fromkeys(ASKING, 69) if closes else {**dict.fromkeys(ASKING, 75), **ANSWERED}
    assert codes(ended) == expected
    assert not [name for name, one in ended.items() if not in_time(one.wall_s, TIMEOUT_S + GRACE_S + START_S)]
    assert not [name for name, one in ended.items() if "541" in one.err or "no letters" in one.err]
    # With a pause between attempts: never as fast as the broker refuses.
    assert connections < 20 * len(ASKING)
    if not closes:
        assert "?" in ended["broker status"].out
        assert "✗ leaders" in ended["broker doctor"].out

    with ThreadPoolExecutor() as pool:
        patient = pool.submit(ask_all, environment, PATIENT_S, ASKED_LATER, PATIENT_S + BACK_S)
        with pytest.raises(TimeoutError):
            patient.result(START_S)
        for member in lost:
            member.revive()
        cluster.await_whole()
        ended = patient.result(BACK_S)
    assert codes(ended) == dict.fromkeys(ASKED_LATER, 0), {name: one.err for name, one in ended.items()}
    assert "rejected" in ended["broker dead list"].out


def test_under_a_mixed_load_nothing_is_lost_and_no_reply_is_false(cluster: Cluster, tmp_path: Path) -> None:
    verdict = play("majority_lost", cluster, tmp_path)
    assert (verdict.state, verdict.text, verdict.broken) == ("pass", "", {})
