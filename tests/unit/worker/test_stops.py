"""Which signals stop a worker, and which of them at once."""

from __future__ import annotations

import signal

import pytest

from worker.stops import SAME_S, Stop, Stops


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once_unless_it_belongs_to_the_first(
    first: signal.Signals, second: signal.Signals
) -> None:
    stops = Stops()
    assert stops.hear(first, 10.0) is Stop.FINISH
    assert stops.hear(second, 10.0 + SAME_S / 2) is None
    assert stops.hear(second, 10.0 + 2 * SAME_S) is Stop.AT_ONCE
    assert stops.hear(second, 100.0) is Stop.AT_ONCE


def test_the_end_of_a_terminal_never_stops_at_once() -> None:
    stops = Stops()
    assert stops.hear(signal.SIGTERM, 10.0) is Stop.FINISH
    assert stops.hear(signal.SIGHUP, 20.0) is None
