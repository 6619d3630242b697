from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from protocol.limits import DEFAULT_LIMITS
from protocol.reply import PackedReply
from protocol.task import Task
from worker.intake.batch import Batch, Key
from worker.intake.delivery import Delivery
from worker.intake.ledger import Ledger

A: Key = "a"


def batch(*ids: str) -> Batch:
    task = Task(id=ids[0], name="task_a", body=b"\x80", batch=len(ids) if len(ids) > 1 else 0)
    return Batch(cast(Delivery, None), task, ids, ids, [b"\x80"] * len(ids), len(ids))


def reply(size: int = 10, task_id: str = "a") -> PackedReply:
    return PackedReply(id=task_id, type="done", body=bytes(size))


def finish(book: Ledger, key: str, size: int = 10, now_s: float = 0) -> None:
    book.finish([key], "done", [bytes(size)], now_s)


def ledger(entries: int = 3, age_s: float = 60, size: int = 100) -> Ledger:
    return Ledger(entries, age_s, size)


def test_an_unknown_task_is_neither_running_nor_finished() -> None:
    assert ledger().find(A, 0) is None


def test_a_task_runs_until_it_is_finished_and_is_then_answered_from_memory() -> None:
    book, run = ledger(), batch("a")
    book.start([A], run)
    assert book.find(A, 0) is run
    finish(book, A, 10, 0)
    assert book.find(A, 1) == reply()


def test_a_run_that_is_forgotten_leaves_nothing_behind() -> None:
    book, run = ledger(), batch("a")
    book.start([A], run)
    book.forget(A, run)
    book.forget(A, run)
    assert book.find(A, 0) is None


def test_forgetting_an_earlier_run_does_not_touch_the_one_that_followed() -> None:
    book, first, second = ledger(), batch("a"), batch("a")
    book.start([A], first)
    book.forget(A, first)
    book.start([A], second)
    book.forget(A, first)
    assert book.find(A, 0) is second


def test_a_replay_by_a_person_is_a_task_of_its_own() -> None:
    book = ledger()
    finish(book, A, 10, 0)
    assert book.find("a.1", 0) is None


def test_what_is_too_old_is_not_answered_from_memory_even_if_it_is_still_held() -> None:
    book = ledger(age_s=60)
    finish(book, A, 10, 0)
    assert book.find(A, 60) is not None
    assert book.find(A, 60.5) is None


def test_the_oldest_go_first_by_number() -> None:
    book = ledger(entries=2)
    for index, name in enumerate("abc"):
        finish(book, name, 1, index)
    assert [book.find(name, 3) is not None for name in "abc"] == [False, True, True]


def test_the_oldest_go_first_by_size() -> None:
    book = ledger(entries=10, size=25)
    for index, name in enumerate("abc"):
        finish(book, name, 10, index)
    assert [book.find(name, 3) is not None for name in "abc"] == [False, True, True]


def test_a_reply_that_is_larger_than_all_memory_is_not_kept_and_leaves_no_trace() -> None:
    book = ledger(size=25)
    finish(book, A, 26, 0)
    assert book.find(A, 0) is None
    finish(book, "b", 25, 1)
    assert book.find("b", 1) is not None


def test_finishing_twice_keeps_the_newer_reply_and_counts_its_size_once() -> None:
    book = ledger(size=25)
    finish(book, A, 20, 0)
    finish(book, A, 20, 1)
    finish(book, "b", 5, 2)
    assert book.find(A, 2) == reply(20)


def test_the_tasks_of_a_batch_run_together_and_are_then_answered_one_by_one() -> None:
    book, known = ledger(), batch("a", "b")
    assert not book.knows_any("ab")
    book.start("ab", known)
    assert book.find("a", 0) is book.find("b", 0) is known
    assert book.knows_any("xb")
    book.finish("ab", "done", [b"1", b"2"], 0)
    assert book.find("b", 1) == PackedReply(id="b", type="done", body=b"2")
    assert book.knows_any("xa")
    assert not book.knows_any("x")


def test_of_a_batch_that_is_larger_than_memory_the_last_ones_are_kept() -> None:
    book = ledger(entries=3)
    book.start("abcde", batch(*"abcde"))
    book.finish("abcde", "done", [b"x"] * 5, 0)
    assert [book.find(name, 0) is not None for name in "abcde"] == [False, False, True, True, True]
    book.finish("fc", "done", [b"x", b"y"], 1)
    assert [book.find(name, 1) is not None for name in "cdef"] == [True, False, True, True]
    book.finish("fc", "done", [b"x", b"z"], 2)
    book.finish("g", "done", [b"x"], 3)
    assert [book.find(name, 3) is not None for name in "cefg"] == [True, False, True, True]
    assert book.find("c", 3) == PackedReply(id="c", type="done", body=b"z")


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 40), st.floats(0, 30)), max_size=40),
    st.integers(1, 4),
    st.integers(0, 100),
    st.floats(0, 60),
)
def test_the_bounds_hold_whatever_is_finished(
    ends: list[tuple[str, int, float]], entries: int, size: int, age_s: float
) -> None:
    book, now, last = Ledger(entries, age_s, size), 0.0, {}
    for name, octets, passed in ends:
        now += passed
        finish(book, name, octets, now)
        last[name] = (octets, now)
        held = {key: found for key in last if isinstance(found := book.find(key, now), PackedReply)}
        assert len(held) <= entries
        assert sum(len(found.body) for found in held.values()) <= size
        assert all(now - last[key][1] <= age_s for key in held)
        assert all((len(found.body), found.id) == (last[key][0], key) for key, found in held.items())
        assert (name in held) is (octets <= size)


def test_the_address_that_was_asked_from_last_is_answered_whichever_copy_comes_first() -> None:
    def copy(resent: int, reply_to: str) -> Task:
        return Task(id="0" * 32, name="task_a", body=b"\x80", reply_to=reply_to, resent=resent)

    late, early = copy(1, "mailbox.live"), copy(0, "mailbox.dead")
    for first, second in ((late, early), (early, late)):
        solo = Batch(cast(Delivery, None), first, [A], [A], [b"\x80"], 1).single_out(0, DEFAULT_LIMITS)
        solo.join(batch("a"), second)
        assert solo.reply_to == "mailbox.live"
        assert len(solo.shares) == 2


def test_of_a_task_that_was_replayed_the_latest_end_counts_and_none_while_it_runs() -> None:
    book, task, other = ledger(), "a" * 32, "b" * 32
    finish(book, task, 1)
    finish(book, f"{task}.1", 2)
    finish(book, "c" * 32, 3)
    assert book.ends_of({task, other}) == {task: reply(2, task)}
    book.start([f"{task}.2"], batch(task))
    assert book.ends_of({task, other}) == {task: None}
