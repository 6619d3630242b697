from __future__ import annotations

import pytest

from worker.intake.consumer import room_of


@pytest.mark.parametrize(
    ("prefetch", "concurrency", "room"),
    [(1, 1, 0), (2, 1, 1), (2, 2, 0), (4, 2, 2), (10, 8, 2), (8, 8, 1), (4, 8, 0), (200, 2, 100), (200, 200, 25)],
)
def test_acks_wait_only_while_the_broker_can_still_hand_out_what_may_run(
    prefetch: int, concurrency: int, room: int
) -> None:
    assert room_of(prefetch, concurrency) == room
