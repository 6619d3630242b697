"""What holds by the control stream does not depend on how often its records are written again."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from broker.control.state import State
from protocol.control import AnyRecord, Marker, Pause, Resume
from protocol.names import new_id

RETENTION_MS, RETENTION_BYTES = 1000, 10_000
SIZE = 100


def state(*records: AnyRecord) -> State:
    made = State(RETENTION_MS, RETENTION_BYTES)
    for record in records:
        made.fold(record, SIZE)
    return made


def pause(queue: str = "queue_a", at: int = 0) -> Pause:
    return Pause(id=new_id(), by="ann", at=at, written=at, queue=queue)


def resume(*pauses: Pause, at: int = 0) -> Resume:
    return Resume(
        id=new_id(), by="bob", at=at, written=at, queue=pauses[0].queue, ends=tuple(one.id for one in pauses)
    )


def marker(at: int = 0) -> Marker:
    return Marker(id=new_id(), by="host:1", at=at, written=at)


def test_a_queue_is_paused_until_its_pause_is_ended_by_name() -> None:
    first, second = pause(), pause()
    end = resume(first)
    assert state(first).paused == {"queue_a": first}
    assert state(first, end).paused == {}
    assert state(first, second, end).paused == {"queue_a": second}
    assert state(end, first).paused == {}
    assert state(first, second).pauses_of("queue_a") == (first.id, second.id)


def test_what_holds_is_due_before_half_of_its_time_and_before_half_of_its_bytes_and_not_when_it_is_over() -> None:
    one = pause()
    assert state(one).due(400) == []
    assert state(one).due(401) == [replace(one, written=401)]
    assert state(one, replace(one, written=401)).due(500) == []
    many = [marker() for _ in range(41)]
    assert state(one, *many[:40]).due(1) == []
    assert state(one, *many).due(1) == [replace(one, written=1)]
    assert state(one, *many, replace(one, written=1)).due(2) == []
    assert state(one, resume(one)).due(10_000) == []
    assert state(*many).due(10_000) == []


def test_a_pause_that_comes_again_behind_its_end_has_that_written_again_once() -> None:
    one = pause()
    end = resume(one)
    contradicted = state(one, end, replace(one, written=5))
    assert (contradicted.paused, contradicted.is_urgent) == ({}, True)
    assert contradicted.due(6) == [replace(end, written=6)]
    contradicted.fold(replace(end, written=6), SIZE)
    assert (contradicted.is_urgent, contradicted.due(7)) == (False, [])


def test_an_end_is_forgotten_once_its_pause_cannot_come_back() -> None:
    one = pause()
    end = resume(one)
    ended = state(one, end)
    ended.due(2 * RETENTION_MS)
    ended.fold(one, SIZE)
    assert ended.paused == {}
    ended = state(one, end)
    ended.due(2 * RETENTION_MS + 1)
    ended.fold(one, SIZE)
    assert ended.paused == {"queue_a": one}


@given(st.data())
def test_whatever_is_written_again_and_wherever_a_reader_begins_all_come_to_the_same(data: st.DataObject) -> None:
    pauses = [pause(f"queue_{number}") for number in range(3)]
    ends = [resume(one) for one in pauses if data.draw(st.booleans())]
    said: list[AnyRecord] = [*pauses, *ends]
    expected = set(state(*said).paused)
    # A worker writes a record again some time after it was written, whatever was written meanwhile.
    for record in data.draw(st.lists(st.sampled_from(said), max_size=10)):
        said.insert(data.draw(st.integers(said.index(record) + 1, len(said))), replace(record, written=1))
    reader = state(*said)
    assert set(reader.paused) == expected
    for record in said:
        reader.fold(record, SIZE)
    assert set(reader.paused) == expected
    # With what it wrote behind all that, one that begins there has the same.
    late = State(RETENTION_MS, RETENTION_BYTES)
    reader = state(*said)
    for record in [*said[len(said) // 2 :], *reader.due(RETENTION_MS)]:
        late.fold(record, SIZE)
    assert set(late.paused) == expected
