"""Which tasks are cancelled by what stands in the control stream."""

from __future__ import annotations

from typing import Any

from broker.control.state import State
from protocol.control import Cancel
from protocol.names import new_id
from protocol.task import Task

ONE, OTHER = new_id(), new_id()


#: The ids that a quarter of ``state``'s retention has room for.
ROOM = 735


def state(*records: Cancel) -> State:
    made = State(1000, 100_000)
    for record in records:
        made.fold(record, 100)
    return made


def cancel(at: int = 100, until: int = 10_000, **what: Any) -> Cancel:
    return Cancel(id=new_id(), by="ann", at=at, written=at, until=until, **what)


def task(**further: Any) -> Task:
    return Task(**{"id": ONE, "name": "task_a", "body": b"\x80", "sent_at": 50, **further})


def is_cancelled(by: State, one: Task, now_ms: int = 200) -> bool:
    return by.cancel_of(one, one.id, now_ms) is not None


def test_a_task_is_cancelled_by_its_id_until_the_time_is_over() -> None:
    by = state(cancel(ids=(ONE,)))
    assert is_cancelled(by, task())
    assert not is_cancelled(by, task(id=OTHER))
    assert is_cancelled(by, task(), 9_999)
    assert not is_cancelled(by, task(), 10_000)


def test_tasks_of_a_name_are_cancelled_that_were_sent_before() -> None:
    by = state(cancel(task="task_a", before=60), cancel(task="task_a", before=51))
    assert is_cancelled(by, task(sent_at=59))
    assert not is_cancelled(by, task(sent_at=60))
    assert not is_cancelled(by, task(name="task_b"))
    assert not is_cancelled(by, task(sent_at=0)), "nobody knows when it was sent"


def test_a_replay_runs_that_was_made_after_the_cancel_and_no_other() -> None:
    for by in (state(cancel(at=100, ids=(ONE,))), state(cancel(at=100, task="task_a", before=99))):
        assert is_cancelled(by, task(replay=1, replayed_at=100))
        assert is_cancelled(by, task(replay=1))
        assert not is_cancelled(by, task(replay=1, replayed_at=101))


def test_a_cancel_is_written_again_as_long_as_it_holds_and_then_forgotten() -> None:
    one = cancel(at=0, until=5_000, ids=(ONE,))
    by = state(one)
    assert by.due(400) == []
    assert [record.id for record in by.due(401)] == [one.id]
    assert not by.has_room(ROOM)
    assert by.due(5_000) == []
    assert (by.has_cancels, by.has_room(ROOM), by.has_room(ROOM + 1)) == (False, True, False)
