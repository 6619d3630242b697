"""What requesters of a campaign ask for, what they make of answers, and what hostile messages there are."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice

import pytest

from broker.errors import AccessRefused, ConfirmLost, ConnectionLost, MayNotPublish, Refused, TooLarge, Unreachable
from dispatcher.errors import NoReply, UnknownTask
from protocol.errors import GlassrabbitError
from tests.chaos import attacks, workload
from tests.chaos.attacks import Victim
from tests.chaos.records import Kind
from tests.chaos.requester import learnt
from tests.chaos.workload import Request, requests

KINDS: list[Kind] = [*workload.SHARES, "crashes_worker"]
TASKS = {kind: [f"chaos.{kind}", f"chaos.{kind}_b"] for kind in KINDS}
SHARES = workload.weights(10, poison_every_s=20)
MAX_ATTEMPTS = 3


def asked(count: int, seed: int = 1, requester: str = "r1") -> list[Request]:
    return list(islice(requests(seed, requester, TASKS, SHARES, MAX_ATTEMPTS), count))


def test_a_seed_and_a_name_give_the_same_requests_again_and_no_others_do() -> None:
    assert asked(50) == asked(50)
    others = [asked(50), asked(50, seed=2), asked(50, requester="r2")]
    assert len({one.key for requests in others for one in requests}) == 150
    assert len({tuple(one.kind for one in requests) for requests in others}) == 3


def test_every_kind_comes_about_as_often_as_its_share_says() -> None:
    requests = asked(4000)
    found = Counter(one.kind for one in requests)
    for kind, share in SHARES.items():
        expected = 4000 * share / sum(SHARES.values())
        assert expected / 2 < found[kind] < expected * 2
    assert found["crashes_worker"] / 4000 == pytest.approx(1 / (10 * 20), rel=0.5)
    assert {one.task for one in requests} == {name for names in TASKS.values() for name in names} | {
        workload.UNKNOWN_NAME
    }


def test_a_request_is_such_that_everybody_knows_how_it_has_to_end() -> None:
    for one in asked(4000):
        assert one.arguments["key"] == one.key
        assert 0 <= one.failures < MAX_ATTEMPTS
        assert (one.failures > 0) is (one.kind in ("fails", "crashes_child"))
        # The delay line takes a name before anyone knows whether its end is bound.
        assert one.task != workload.UNKNOWN_NAME or (one.kind, one.delay_s) == ("ok", 0)
        assert one.delay_s == 0 or workload.DELAY_S[0] <= one.delay_s <= workload.DELAY_S[1]


def test_about_a_fifth_of_all_goes_in_batches_of_one_task_and_none_is_asked_for_twice() -> None:
    stream = asked(4000)
    turns = list(workload.together(1, "r1", iter(stream)))
    assert len(turns) == 4000
    batches = [turn for turn in turns if len(turn) > 1]
    assert 0.15 < sum(map(len, batches)) / 4000 < 0.3
    assert {one.kind for batch in batches for one in batch} == set(workload.SHARES)
    for batch in batches:
        assert len({one.task for one in batch}) == 1
        assert not any(one.delay_s or one.task == workload.UNKNOWN_NAME for one in batch)
    keys = [one.key for turn in turns for one in turn]
    assert len(keys) == len(set(keys))
    assert turns == list(workload.together(1, "r1", iter(stream)))


def test_a_kind_without_a_task_is_left_out() -> None:
    some: dict[Kind, list[str]] = {"ok": ["chaos.ok"], "slow": []}
    assert {one.kind for one in islice(requests(1, "r1", some, SHARES, MAX_ATTEMPTS), 100)} == {"ok"}


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (UnknownTask("no.such", ["chaos.ok"]), "returned"),
        (Refused("the queue is full"), "refused"),
        (MayNotPublish("no right"), "refused"),
        (TooLarge("100,001 bytes"), "refused"),
        (ConfirmLost("no confirm"), "unknown"),
        (AccessRefused("a wrong password"), "unknown"),
        (NoReply("f" * 32, 90, accepted=True), "accepted"),
        (NoReply("f" * 32, 90, accepted=False), "unknown"),
        (ConnectionLost("reset"), "unknown"),
        (Unreachable("nobody answers"), "unknown"),
    ],
)
def test_a_requester_believes_of_its_publish_what_the_error_says(error: GlassrabbitError, answer: str) -> None:
    assert learnt("key", error).answer == answer


def test_the_bodies_of_hostile_messages_are_never_the_same_and_each_attack_comes_once_a_round() -> None:
    victim = Victim(task="chaos.ok", queue="queue_a", other_task="chaos.slow", other_queue="queue_b")
    names = attacks.names(random.Random(1))
    made = [attacks.attack(name, victim, number.to_bytes(12)) for number, name in enumerate(names * 2)]
    assert len(set(names)) == len(names)
    assert len({attack.body for attack in made}) == len(made)
    assert {attack.routing_key for attack in made} == {"chaos.ok"}
