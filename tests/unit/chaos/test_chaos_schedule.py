"""The schedule of a campaign: repeatable, within its time, every kind of fault, and quiet in between."""

from __future__ import annotations

from itertools import islice

from tests.chaos.faults import FAULTS
from tests.chaos.schedule import KINDS, MOST_AT_ONCE, QUIET_S, WARM_UP_S, Episode, Planned, schedule
from tests.chaos.target import BREAK_THE_BROKER

WORKERS = ["w1", "w2", "w3"]
REQUESTERS = ["r1", "r2"]
OTHERS = ["c1"]
SEEDS = range(20)
EPISODES = 100


def of(seed: int, **options: list[str]) -> list[Episode]:
    return list(islice(schedule(seed, WORKERS, REQUESTERS, OTHERS, **options), EPISODES))


def faults(seed: int) -> list[Planned]:
    return [fault for episode in of(seed) for fault in episode.faults]


def test_a_seed_gives_the_same_schedule_each_time_and_another_seed_another_one() -> None:
    assert of(7) == of(7)
    assert len({str(of(seed)) for seed in SEEDS}) == len(SEEDS)


def test_an_episode_is_cut_down_to_the_time_that_is_left() -> None:
    for episode in of(1):
        assert episode.within(episode.seconds) is episode
        assert episode.within(QUIET_S[0]) is None
        shorter = episode.within(episode.seconds - 0.1)
        if shorter is not None:
            assert shorter.seconds < episode.seconds
            assert shorter.faults == episode.faults[: len(shorter.faults)]


def test_a_minute_and_a_half_is_enough_for_an_episode() -> None:
    assert all(of(seed)[0].within(90 - WARM_UP_S) for seed in SEEDS)


def test_faults_overlap_and_quiet_follows() -> None:
    for seed in SEEDS:
        for episode in of(seed):
            assert 1 <= len(episode.faults) <= MOST_AT_ONCE
            assert episode.quiet_s >= QUIET_S[0] >= 15
    overlapping = [
        (one, other)
        for episode in of(1)
        for one in episode.faults
        for other in episode.faults
        if one is not other and one.begins_s <= other.begins_s < one.over_s
    ]
    assert len(overlapping) > len(of(1)) / 2


def test_two_that_are_on_together_spoil_different_things() -> None:
    for seed in SEEDS:
        for episode in of(seed):
            for one in episode.faults:
                for other in episode.faults:
                    if one is not other and one.begins_s <= other.begins_s < one.over_s:
                        assert not one.meets(other), (one, other)


def test_every_kind_comes_before_any_comes_again() -> None:
    for seed in SEEDS:
        kinds = [fault.kind for fault in faults(seed)]
        assert sorted(kinds[: len(KINDS)]) == sorted(KINDS)


def test_faults_are_aimed_at_what_they_can_hit() -> None:
    for fault in faults(3):
        part = KINDS[fault.kind].part
        assert (part == "broker") is not bool(fault.targets)
        assert part != "process" or len(fault.targets) == 1
        assert not (fault.kind.startswith("requester") and set(fault.targets) & {*WORKERS, *OTHERS})


def test_kinds_can_be_chosen() -> None:
    chosen = ["worker killed", "broker killed"]
    assert {fault.kind for episode in of(1, kinds=chosen) for fault in episode.faults} == set(chosen)


def test_there_is_a_way_to_do_each_kind() -> None:
    assert list(FAULTS) == list(KINDS)
    assert set(BREAK_THE_BROKER) <= set(KINDS)
