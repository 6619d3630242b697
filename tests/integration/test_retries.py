"""A task that fails comes back through the delay line, and ends as a dead letter if it never works."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.support.installation import Installation
from tests.support.vhost import body

NOMINAL_S = 0.5
JITTER = 0.1
LATE_S = 0.5


@pytest.mark.every_broker
def test_a_task_that_fails_twice_and_then_works_tells_three_attempts_at_the_right_times(
    installation: Installation,
) -> None:
    installation.worker()
    journal = installation.journal()
    reply = installation.caller().ask("fail", {"times": 2, "journal": str(journal)})
    assert (reply.result, reply.run.attempts) == (3, 3)
    starts = [entry["at"] for entry in journal.entries]
    gaps = [after - before for before, after in pairwise(starts)]
    assert len(gaps) == 2
    assert all(NOMINAL_S <= gap <= NOMINAL_S * (1 + JITTER) + LATE_S for gap in gaps), gaps
