"""One worker of a pool that is told to stop while it starts, or cannot be started at all."""

from __future__ import annotations

import os
import signal

from tests.support.waiting import run
from worker.scaling.pool_process import End, WorkerProcess

NOWHERE = {**os.environ, "BROKER_URL": "amqp://127.0.0.1:1"}


def test_a_worker_that_is_told_to_stop_before_it_runs_stops() -> None:
    process = WorkerProcess("queue_a", [], NOWHERE)
    process.send(signal.SIGTERM)
    end = run(process.run(quietly=True))
    # By the signal itself, unless it was quick enough to expect it.
    assert (end.code in {0, -signal.SIGTERM}, end.was_ready) == (True, False)


def test_a_process_that_cannot_be_started_is_an_end_with_a_reason() -> None:
    end = run(WorkerProcess("queue_a", ["x" * 10_000_000], NOWHERE).run(quietly=True))
    assert (end.code, end.was_ready) == (os.EX_OSERR, False)
    assert "no process can be started: [Errno 7] Argument list too long" in str(end)


def test_a_reason_is_the_same_at_another_time_and_in_another_process() -> None:
    first, again, other = (
        End(78, False, reason)
        for reason in ("12:00:01 ERROR pid 17: no license", "12:00:31 ERROR pid 4711: no license", "no module")
    )
    assert first.kind == again.kind != other.kind
