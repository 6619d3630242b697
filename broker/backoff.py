"""The wait before the next attempt, for everything that tries again until it succeeds. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Waits in seconds: ``first_s``, then twice as long each time, up to ``longest_s``.

    ``spread``: each wait is random from 0 to that, so that many clients of one broker do not come back together.
    """

    first_s: float
    longest_s: float
    spread: bool = False
    _bound_s: float = 0.0

    def next_s(self) -> float:
        """The wait after one more failure."""
        self._bound_s = min(2 * self._bound_s or self.first_s, self.longest_s)
        return random.uniform(0.0, self._bound_s) if self.spread else self._bound_s

    def reset(self) -> None:
        """It worked: the next wait is the first again."""
        self._bound_s = 0.0
