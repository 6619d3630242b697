"""Which of two configurations is faster, from rounds in which each had its turn. Pure.

What is compared is the ratio B / A of each round: what makes the whole machine slow for a while makes both sides
of a round slow, and the ratio keeps nothing of it. Nothing is assumed of how the ratios are spread, not even that
they have a mean: if neither side is faster, each is as likely above 1 as below, and the rest is counting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

SideName = Literal["A", "B"]

#: Three figures are judged, and where there is no difference at most one test in ten may show one.
_WRONG = 0.1 / 3
#: A smaller difference than 5 % is none that anybody should act upon.
LEAST_CHANGE = 1.05
#: With fewer rounds chance alone may have all of them agree.
LEAST_ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that is measured in each turn, and compared."""

    key: str
    name: str
    unit: str
    more_is_faster: bool


FIGURES = (
    Figure("throughput", "throughput", "/s", more_is_faster=True),
    Figure("p50_ms", "latency median", " ms", more_is_faster=False),
    Figure("p95_ms", "latency p95", " ms", more_is_faster=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Medians of each side and of the ratio B / A, and the interval in which the true ratio is.

    The interval is wrong at most once in thirty. ``faster`` is None where no difference was shown.
    """

    a: float
    b: float
    ratio: float
    low: float
    high: float
    faster: SideName | None

    def to_map(self) -> dict[str, Any]:
        return {key: value if key == "faster" else round(value, 4) for key, value in asdict(self).items()}


def turns(number: int) -> tuple[SideName, SideName]:
    """Who comes first and who second in a round, from 0: A B, B A, A B … A drift is for and against each alike."""
    return ("B", "A") if number % 2 else ("A", "B")


def compared(rounds: Sequence[tuple[float, float]], *, more_is_faster: bool) -> Compared:
    """From A's and B's value in each round, all above 0; ``LEAST_ROUNDS`` rounds or more."""
    ratios = sorted(math.log(b / a) for a, b in rounds)
    spare = outside(len(ratios))
    low, ratio, high = (math.exp(one) for one in (ratios[spare], median(ratios), ratios[-1 - spare]))
    faster: SideName | None = None
    if not low <= 1 <= high and max(ratio, 1 / ratio) >= LEAST_CHANGE:
        faster = "B" if (ratio > 1) is more_is_faster else "A"
    a, b = median(a for a, _ in rounds), median(b for _, b in rounds)
    return Compared(a=a, b=b, ratio=ratio, low=low, high=high, faster=faster)


def outside(rounds: int) -> int:
    """How many of the least and of the greatest ratios may be left out of the interval.

    It misses the true median where at most that many are on one side of it, which is as likely as with fair coins.
    Raises ``ValueError`` with fewer than ``LEAST_ROUNDS``.
    """
    if rounds < LEAST_ROUNDS:
        raise ValueError(f"{rounds} rounds")
    spare, missed = 0, 1 + rounds
    while 2 * missed <= _WRONG * 2**rounds:
        spare += 1
        missed += math.comb(rounds, spare + 1)
    return spare
