"""The report of a workload: what it cost side by side, and what it would have cost in sequence."""

from __future__ import annotations

from dispatcher.commands.workload import HEAD, Report, Sent, task_map
from dispatcher.errors import NoReply, UnknownTask
from protocol.errors import ExitCode, GlassrabbitError
from protocol.reply import Failure, Reply, Run

ID = "0123456789abcdef" * 2


def done(ran_ms: int = 1000, worker: str = "host:1") -> Reply:
    return Reply(id=ID, run=Run(attempts=1, worker=worker, queued_ms=250, ran_ms=ran_ms), result="r")


def failed(ran_ms: int = 500) -> Reply:
    failure = Failure(code="rejected", type="Reject", text="no")
    return Reply(id=ID, run=Run(attempts=4, worker="host:2", ran_ms=ran_ms), failure=failure)


def report(*ends: Reply | GlassrabbitError, wall_s: float = 1.0) -> Report:
    return Report(tuple(Sent("task_a", end) for end in ends), wall_s)


def test_the_time_in_sequence_is_the_sum_of_what_ran_and_the_speed_up_its_ratio_to_the_wall_time() -> None:
    made = report(done(1500), done(2000), failed(500), NoReply(ID, 1, accepted=True), wall_s=2.0)
    assert (made.sequence_s, made.speed_up) == (4.0, 2.0)
    assert made.summary == "2 of 4 done · wall time 2.00 s · in sequence 4.00 s · speed-up 2.00"


def test_nothing_sent_takes_no_time_and_divides_by_nothing() -> None:
    made = report(wall_s=0.0)
    assert (made.sequence_s, made.speed_up, made.exit_code) == (0.0, 0.0, ExitCode.OK)
    assert made.summary.startswith("0 of 0 done")


def test_the_exit_code_is_that_of_the_worst_end() -> None:
    overdue, unknown = NoReply(ID, 1, accepted=False), UnknownTask("task_c", ["task_a"])
    assert report(done()).exit_code is ExitCode.OK
    assert report(done(), failed()).exit_code is ExitCode.FAILED
    assert report(failed(), overdue).exit_code is ExitCode.TIMED_OUT
    assert report(overdue, unknown, failed()).exit_code is ExitCode.UNROUTABLE


def test_a_row_has_a_cell_for_each_head_and_says_how_the_task_ended() -> None:
    rows = report(done(1234), failed(), UnknownTask("task_c", ["task_a"])).rows()
    assert all(len(row) == len(HEAD) for row in rows)
    assert rows[0] == ("task_a", "host:1", "1", "0.25 s", "1.23 s", "done")
    assert (rows[1][1], rows[1][2], rows[1][5]) == ("host:2", "4", "failed: rejected")
    assert rows[2][:5] == ("task_a", "", "", "", "")
    assert "no queue is bound for task task_c" in rows[2][5]


def test_as_json_every_task_is_there_with_its_reply_or_its_error() -> None:
    whole = report(done(), NoReply(ID, 1, accepted=True), wall_s=0.5).to_map()
    assert (whole["schema"], whole["wall_s"], whole["sequence_s"], whole["speed_up"]) == (1, 0.5, 1.0, 2.0)
    first, second = whole["tasks"]
    assert first == {"task": "task_a", **done().to_map()}
    assert (second["task"], second["error"]["code"]) == ("task_a", "no_reply")
    assert task_map(Sent("task_b", failed()))["error"]["code"] == "rejected"
