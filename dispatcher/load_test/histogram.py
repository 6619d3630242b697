"""Latencies in bounded memory: a percentile is at most 0.5 % off, the least and the greatest are exact. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

#: Each class ends 1 % above where it begins, and stands for its geometric middle.
_GROWTH = math.log(1.01)
#: What is below is counted as this.
_LEAST_MS = 0.001


@dataclass(slots=True)
class Histogram:
    """Milliseconds, 0 or more. From a microsecond to an hour there are 2,200 classes."""

    classes: Counter[int] = field(default_factory=Counter)
    count: int = 0
    least_ms: float = math.inf
    greatest_ms: float = 0.0

    def add(self, ms: float) -> None:
        ms = max(ms, _LEAST_MS)
        self.classes[int(math.log(ms / _LEAST_MS) / _GROWTH)] += 1
        self.count += 1
        self.least_ms = min(self.least_ms, ms)
        self.greatest_ms = max(self.greatest_ms, ms)

    def percentile(self, percent: float) -> float:
        """The least value that ``percent`` of all do not exceed (nearest rank); 0 where there is none."""
        rank, seen = math.ceil(percent / 100 * self.count), 0
        for number in sorted(self.classes):
            seen += self.classes[number]
            if seen >= rank:
                middle = _LEAST_MS * math.exp((number + 0.5) * _GROWTH)
                return min(max(middle, self.least_ms), self.greatest_ms)
        return 0.0

    def to_map(self) -> dict[str, float]:
        """A summary of them, in milliseconds."""
        least = self.least_ms if self.count else 0.0
        parts = {f"p{percent}": self.percentile(percent) for percent in (50, 75, 95, 99)}
        return {key: round(ms, 3) for key, ms in {"min": least, **parts, "max": self.greatest_ms}.items()}

    def bars(self, most: int = 12) -> list[tuple[float, int]]:
        """At most ``most`` equal steps on a logarithmic scale: the upper end in milliseconds, and how many."""
        if not self.count:
            return []
        first, last = min(self.classes), max(self.classes)
        width = (last - first) // most + 1
        counts = [0] * ((last - first) // width + 1)
        for number, count in self.classes.items():
            counts[(number - first) // width] += count
        return [
            (round(_LEAST_MS * math.exp((first + (step + 1) * width) * _GROWTH), 3), count)
            for step, count in enumerate(counts)
        ]


def drawn(counts: Sequence[int], width: int = 40) -> list[str]:
    """A bar for each count; the greatest is as long as ``width``, and none that counts is empty."""
    most = max(counts, default=0)
    return ["█" * (max(1, round(width * count / most)) if count else 0) for count in counts]
