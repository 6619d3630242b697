"""``load ab``: when it says that one side is faster, and what a side may be."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.config.loader import load
from dispatcher.load_ab.session import judged, row
from dispatcher.load_ab.sides import BadSetting, Side, patient, side_of
from dispatcher.load_ab.verdict import FIGURES, LEAST_ROUNDS, compared, outside, turns

Turn = dict[str, Any]
#: How much slower than alone the machine is at a turn, and one measurement in it.
Noise = Callable[[random.Random], tuple[Callable[[int], float], Callable[[], float]]]

CONFIG = """\
queues: {queue_a: {}, queue_b: {}}
tasks:
  noop: {queue: queue_a, handler: "worker.tasks:noop"}
  files.sha256: {queue: queue_b, handler: "worker.tasks:sha256"}
worker: {concurrency: 2}
"""


def test_each_side_is_first_as_often_as_the_other() -> None:
    assert [*turns(0), *turns(1), *turns(2), *turns(3)] == ["A", "B", "B", "A", "A", "B", "B", "A"]


def simulated(seed: int, noise: Noise, *, rounds: int = 10, b_is: float = 1.0) -> dict[str, str | None]:
    """The verdicts on a test whose side B is ``b_is`` times as fast."""
    chance = random.Random(seed)
    slow, measured = noise(chance)
    clock = itertools.count()

    def turn(speed: float) -> Turn:
        now = slow(next(clock)) / speed
        return {
            "throughput": 1000 / (now * measured()),
            "latency_ms": {"p50": 100 * now * measured(), "p95": 200 * now * measured()},
        }

    done = [{name: turn(b_is if name == "B" else 1.0) for name in turns(number)} for number in range(rounds)]
    return {key: one.faster for key, one in judged(done).items()}


def quiet(chance: random.Random) -> tuple[Callable[[int], float], Callable[[], float]]:
    return lambda _turn: 1.0, lambda: chance.lognormvariate(0, 0.1)


def drifting(chance: random.Random) -> tuple[Callable[[int], float], Callable[[], float]]:
    """Ever slower or faster, by up to a tenth each turn."""
    growth = chance.uniform(-0.1, 0.1)
    return lambda turn: float((1 + growth) ** turn), lambda: chance.lognormvariate(0, 0.1)


def heavy_tailed(chance: random.Random) -> tuple[Callable[[int], float], Callable[[], float]]:
    """A measurement in ten is off by anything."""
    return (
        lambda _turn: 1.0,
        lambda: chance.lognormvariate(0, 0.05) * (chance.paretovariate(0.7) if chance.random() < 0.1 else 1.0),
    )


def shared(chance: random.Random) -> tuple[Callable[[int], float], Callable[[], float]]:
    """A machine with others on it: a drift, whole turns that are slow, slow spells of several turns."""
    growth, spell = chance.uniform(-0.03, 0.03), 1.0

    def slow(turn: int) -> float:
        nonlocal spell
        if chance.random() < 0.2:
            spell = chance.choice((1.0, 1.5, 3.0))
        return float((1 + growth) ** turn) * spell * (chance.paretovariate(1.5) if chance.random() < 0.3 else 1.0)

    return slow, lambda: chance.lognormvariate(0, 0.05)


KINDS = (quiet, drifting, heavy_tailed, shared)


@pytest.mark.parametrize("noise", KINDS)
@pytest.mark.parametrize("rounds", [6, 10, 13])
def test_where_both_sides_are_the_same_at_most_one_test_in_ten_shows_a_difference(
    noise: Noise, rounds: int
) -> None:
    shown = sum(any(simulated(seed, noise, rounds=rounds).values()) for seed in range(1000))
    assert shown <= 100, shown


@pytest.mark.parametrize("noise", KINDS)
def test_five_times_as_fast_shows_whatever_the_noise(noise: Noise) -> None:
    verdicts = [simulated(seed, noise, b_is=5.0)["throughput"] for seed in range(200)]
    assert verdicts.count("A") == 0
    assert verdicts.count("B") >= 180, verdicts.count("B")


def test_a_difference_that_nobody_would_notice_is_none() -> None:
    assert compared([(100.0, 104.9)] * 10, more_is_faster=True).faster is None
    assert compared([(100.0, 105.1)] * 10, more_is_faster=True).faster == "B"
    assert compared([(105.1, 100.0)] * 10, more_is_faster=True).faster == "A"


def test_more_throughput_is_faster_and_so_is_less_latency() -> None:
    assert [figure.more_is_faster for figure in FIGURES] == [True, False, False]
    assert compared([(1.0, 2.0)] * 6, more_is_faster=False).faster == "A"


def test_one_round_that_is_off_by_anything_moves_nothing() -> None:
    calm = compared([(100.0, 300.0)] * 10, more_is_faster=True)
    assert compared([(100.0, 300.0)] * 9 + [(1e9, 1e-9)], more_is_faster=True).ratio == calm.ratio
    assert compared([(100.0, 300.0)] * 9 + [(1e9, 1e-9)], more_is_faster=True).faster == "B"


values = st.floats(1e-3, 1e9)


@given(st.lists(st.tuples(values, values), min_size=LEAST_ROUNDS, max_size=30), st.booleans())
def test_the_sides_swapped_give_the_same_answer_swapped(rounds: list[tuple[float, float]], more: bool) -> None:
    here = compared(rounds, more_is_faster=more)
    there = compared([(b, a) for a, b in rounds], more_is_faster=more)
    assert here.low <= here.ratio <= here.high
    assert (here.a, here.b) == (there.b, there.a)
    assert here.ratio * there.ratio == pytest.approx(1)
    assert here.low * there.high == pytest.approx(1)
    assert {here.faster, there.faster} in ({None}, {"A", "B"})


@pytest.mark.parametrize("rounds", range(LEAST_ROUNDS, 15))
def test_the_interval_misses_by_chance_at_most_once_in_thirty_and_is_no_wider_than_that_takes(rounds: int) -> None:
    """Counted: each ratio is above the true one or below, as a coin falls."""
    above = [sum(coins) for coins in itertools.product((0, 1), repeat=rounds)]

    def missing(spare: int) -> float:
        return sum(not spare < count < rounds - spare for count in above) / len(above)

    assert missing(outside(rounds)) <= 1 / 30 < missing(outside(rounds) + 1)


def test_with_five_rounds_chance_alone_could_have_them_all_agree() -> None:
    with pytest.raises(ValueError, match="5 rounds"):
        outside(5)


def test_the_table_says_how_many_times_and_from_where_to_where() -> None:
    rounds = [(100.0, 310.0)] * 9 + [(100.0, 250.0)]
    assert row(FIGURES[0], compared(rounds, more_is_faster=True)) == (
        "throughput",
        "100.0/s",
        "310.0/s",
        "3.10 ×",
        "3.10 to 3.10",
        "B is faster",
    )
    assert row(FIGURES[2], compared([(1.0, 1.0)] * 6, more_is_faster=False))[-1] == "no difference shown"


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "config.yml"
    file.write_text(CONFIG)
    return str(file)


def side(config: str, *texts: str, **environ: str) -> Side:
    return side_of("B", texts, ["queue_a"], config, environ)


def test_a_side_is_the_configuration_with_settings_over_it(config: str) -> None:
    one = side(
        config, "worker.concurrency=7", "worker.prefetch=9", "tasks.files.sha256.executor=thread", PATH="/bin"
    )
    assert one.settings.worker.concurrency == 7
    assert (one.settings.queues["queue_a"].prefetch, one.settings.queues["queue_b"].prefetch) == (9, None)
    assert one.settings.tasks["files.sha256"].executor == "thread"
    assert one.text == "worker.concurrency=7 queues.queue_a.prefetch=9 tasks.files.sha256.executor=thread"
    # A worker with this environment has the same.
    assert load(config, one.environ) == one.settings
    assert one.environ["PATH"] == "/bin"
    assert side(config).text == "as configured"


def test_a_setting_wins_over_a_variable_of_any_case(config: str) -> None:
    around = {"glassrabbit__worker__concurrency": "3", "GLASSRABBIT__WORKER__GRACE_S": "4"}
    one = side(config, "worker.concurrency=7", **around)
    assert (one.settings.worker.concurrency, one.settings.worker.grace_s) == (7, 4)


def test_a_value_is_read_as_yaml(config: str) -> None:
    one = side(config, "tasks.noop.retry.backoff_s=[1, 2.5]", "worker.http.enabled=false")
    assert one.settings.tasks["noop"].retry.backoff_s == (1.0, 2.5)
    assert not one.settings.worker.http.enabled


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["worker.concurrency"], "Write KEY=VALUE"),
        (["=1"], "Write KEY=VALUE"),
        (["worker.concurrency="], "Write KEY=VALUE"),
        (["worker.concurency=1"], "Did you mean worker.concurrency?"),
        (["worker.prefech=1"], "Did you mean worker.prefetch?"),
        (["nothing.of.ours=1"], "config show` lists the keys"),
        (["broker.heartbeat_s=5"], "does not go by it"),
        (["scaling.value=5"], "does not go by it"),
        (["replies=mailbox"], "does not go by it"),
        (["worker.concurrency=1", "worker.concurrency=2"], "given twice"),
        (["worker.prefetch=1", "queues.queue_a.prefetch=2"], "given twice"),
        (["worker.concurrency=many"], "--b worker.concurrency: 'many' is not a whole number"),
        (["worker.concurrency=0"], "--b worker.concurrency: 0 is too small. Use 1 or more."),
        (["worker.concurrency=[1"], "not valid YAML"),
        (["worker.prefetch=70000"], "--b queues.queue_a.prefetch: 70000 is too large"),
        (["queues.queue_a.delivery_limit=9"], "would change them"),
        (["tasks.noop.queue=queue_b"], "would change them"),
    ],
)
def test_a_setting_that_cannot_be_is_reported_with_the_option(config: str, texts: list[str], said: str) -> None:
    with pytest.raises(BadSetting) as raised:
        side(config, *texts)
    assert said in str(raised.value)
    assert str(raised.value).startswith("--b")
    assert raised.value.exit_code == 2


def test_no_attempt_may_take_longer_than_anybody_waits_for_it(config: str) -> None:
    base = load(config, {})
    assert base.defaults.timeout_s == 300
    around = patient(base, {"glassrabbit__defaults__timeout_s": "200"}, 60.0)
    assert load(config, around).tasks["noop"].timeout_s == 60
    assert load(config, patient(base, {}, 1000.0)).tasks["noop"].timeout_s == 300
    assert load(config, patient(base, {}, 0.01)).tasks["noop"].timeout_s == 0.1
    # So that this, with which a worker could hold tasks for longer than the broker lets it, can be tested.
    assert side(config, "worker.prefetch=50", **around).settings.queues["queue_a"].prefetch == 50


def test_a_token_is_not_shown(config: str) -> None:
    assert "hunter2" not in side(config, "worker.http.token=hunter2hunter2hunter2").text
