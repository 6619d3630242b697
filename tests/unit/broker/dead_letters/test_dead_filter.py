from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from broker.config.settings import Settings
from broker.console.arguments import since_ms
from broker.dead_letters.filter import Chosen, Filter
from broker.dead_letters.queue import MissingQueue, dead_queues
from protocol.limits import DEFAULT_LIMITS
from protocol.names import LOST
from tests.unit.broker.dead_letters.test_dead_text import ID, letter

NOW_MS = 1_795_000_000_000


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        ({}, True),
        ({"reasons": ("rejected",)}, True),
        ({"reasons": ("expired", "rejected")}, True),
        ({"reasons": ("expired",)}, False),
        ({"tasks": ("note",)}, True),
        ({"tasks": ("no",)}, False),
        ({"ids": (ID,)}, True),
        ({"ids": (ID[:-1],)}, False),
        ({"error": "NO SUCH"}, True),
        ({"error": "keyerror"}, True),
        ({"error": "gone"}, False),
        ({"since_ms": NOW_MS}, True),
        ({"since_ms": NOW_MS + 1}, False),
        ({"reasons": ("rejected",), "tasks": ("other",)}, False),
    ],
)
def test_a_letter_passes_if_it_passes_every_filter(wanted: dict[str, Any], passes: bool) -> None:
    history = [{"attempt": 1, "error": "KeyError", "text": "'n'"}]
    headers = {"v": 1, "reason": "rejected", "text": "no such order", "died": NOW_MS, "history": history}
    assert Filter(**wanted).passes(letter(headers=headers), DEFAULT_LIMITS) is passes


def test_the_broker_s_letters_died_when_it_says_so() -> None:
    died = datetime.fromtimestamp(NOW_MS // 1000, UTC)
    deaths = [{"queue": "queue_a", "reason": "expired", "time": died}]
    one = letter(exchange="tasks.killed", headers={"v": 1, "x-death": deaths})
    assert one.died_ms == NOW_MS
    assert Filter(reasons=("expired",), since_ms=NOW_MS).passes(one, DEFAULT_LIMITS)


def test_a_letter_that_does_not_say_when_it_died_is_not_younger_than_anything() -> None:
    for died in (None, "yesterday", -1, 2**62):
        assert not Filter(since_ms=1).passes(letter(headers={"v": 1, "died": died}), DEFAULT_LIMITS)


def test_of_more_than_the_limit_the_first_are_chosen_and_all_are_counted() -> None:
    chosen = Chosen(limit=2)
    assert [chosen(letter()) for _ in range(5)] == [True, True, False, False, False]
    assert (chosen.passed, chosen.beyond) == (5, 3)


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("90s", NOW_MS - 90_000),
        ("15m", NOW_MS - 900_000),
        ("2h", NOW_MS - 7_200_000),
        ("3d", NOW_MS - 259_200_000),
        ("2026-11-24T10:30", 1_795_516_200_000),
        ("2026-11-24T11:30+01:00", 1_795_516_200_000),
        ("2026-11-24", 1_795_478_400_000),
    ],
)
def test_since_is_an_age_or_a_time(text: str, time_ms: int) -> None:
    assert since_ms(text, NOW_MS) == time_ms


@pytest.mark.parametrize("text", ["", "yesterday", "2", "2w", "-2h", "1e3s", "24.11.2026"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Invalid isoformat"):
        since_ms(text, NOW_MS)


def test_a_queue_of_letters_has_the_name_of_its_work_queue_or_its_own() -> None:
    settings = Settings()
    assert dead_queues(settings, []) == ["queue_a.dead", "queue_b.dead", LOST]
    assert dead_queues(settings, ["queue_b", "queue_b.dead", LOST]) == ["queue_b.dead", LOST]
    for name in ("", "queue a", "\x1b[2J", "x" * 300, "tasks.obituaries", "queue_a.dead.dead"):
        with pytest.raises(MissingQueue, match="cannot be a queue"):
            dead_queues(settings, [name])
