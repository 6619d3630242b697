"""The wait before the next attempt."""

from __future__ import annotations

from broker.amqp.link import between_attempts
from broker.backoff import Backoff


def test_the_wait_doubles_up_to_a_limit() -> None:
    backoff = Backoff(0.5, 3.0)
    assert [backoff.next_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert [backoff.next_s() for _ in range(2000)][-1] == 3.0


def test_what_worked_begins_with_the_first_wait_again() -> None:
    backoff = Backoff(0.5, 3.0)
    first, _second = backoff.next_s(), backoff.next_s()
    backoff.reset()
    assert backoff.next_s() == first


def test_clients_that_lost_the_same_broker_do_not_come_back_together() -> None:
    """Each wait is random below 0.25, 0.5, 1, 2, 4 and then 5 s."""
    waits = [[backoff.next_s() for _ in range(8)] for backoff in (between_attempts() for _ in range(200))]
    for bound_s, of_each in zip((0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0), zip(*waits, strict=True), strict=True):
        assert max(of_each) <= bound_s
        assert max(of_each) - min(of_each) > bound_s / 2
