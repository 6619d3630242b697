"""The wait before the next attempt, for everything that tries again until it succeeds."""

from __future__ import annotations

import tenacity


class Backoff:
    """Waits in seconds: ``first_s``, then twice as long each time, up to ``longest_s``.

    ``spread``: each wait is random from 0 to that, so that many clients of one broker do not come back together.
    """

    def __init__(self, first_s: float, longest_s: float, *, spread: bool = False) -> None:
        strategy = tenacity.wait_random_exponential if spread else tenacity.wait_exponential
        self._wait = strategy(multiplier=first_s, max=longest_s)
        self._failures = 0

    def next_s(self) -> float:
        """The wait after one more failure."""
        self._failures += 1
        attempt = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        attempt.attempt_number = self._failures
        return self._wait(attempt)

    def reset(self) -> None:
        """It worked: the next wait is the first again."""
        self._failures = 0
