from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import pending
from dispatcher.errors import NoReply
from dispatcher.pending import Accepted, End, Pending, PendingCalls
from dispatcher.request import Request
from protocol.reply import Failure, Reply, Run


def reply(task_id: str) -> Reply:
    return Reply(id=task_id, run=Run(attempts=1, worker="w:1"), result=None)


class Caller:
    """Makes calls and collects how they end."""

    def __init__(self) -> None:
        self.calls = PendingCalls()
        self.ends: list[tuple[str, End]] = []

    def ask(self, *ids: str, deadline_s: float = 10, wants_reply: bool = True) -> Pending:
        call = Pending(
            request=Request(name="task_a", tasks=dict.fromkeys(ids, b"\x80")),
            timeout_s=10,
            deadline_s=deadline_s,
            on_end=lambda ends: self.ends.extend(ends.items()),
            wants_reply=wants_reply,
        )
        self.calls.add(call)
        return call


def test_the_first_reply_ends_a_call_and_later_ones_are_duplicates() -> None:
    caller = Caller()
    caller.ask("a")
    assert caller.calls.end("a", reply("a"))
    assert not caller.calls.end("a", reply("a"))
    assert caller.ends == [("a", reply("a"))]
    assert (caller.calls.duplicates, caller.calls.strangers) == (1, 0)


def test_a_reply_that_was_never_asked_for_here_is_a_stranger() -> None:
    caller = Caller()
    caller.ask("a")
    assert not caller.calls.end("b", reply("b"))
    assert caller.ends == []
    assert (caller.calls.duplicates, caller.calls.strangers) == (0, 1)


def test_a_reply_after_the_deadline_is_a_duplicate() -> None:
    caller = Caller()
    call = caller.ask("a", deadline_s=5)
    late = NoReply("a", 10, accepted=True)
    assert caller.calls.overdue(4.9) == []
    assert caller.calls.overdue(5) == [call]
    caller.calls.end("a", late)
    caller.calls.end("a", reply("a"))
    assert caller.ends == [("a", late)]
    assert caller.calls.duplicates == 1


def test_a_call_that_was_given_up_hears_nothing_more() -> None:
    caller = Caller()
    caller.ask("a")
    caller.calls.forget("a")
    caller.calls.forget("a")
    assert not caller.calls.end("a", reply("a"))
    assert caller.ends == []
    assert caller.calls.duplicates == 1


def test_forgetting_what_was_never_asked_makes_no_duplicate_of_it() -> None:
    caller = Caller()
    caller.calls.forget("a")
    caller.calls.end("a", reply("a"))
    assert caller.calls.strangers == 1


def test_a_new_channel_asks_again_for_every_direct_reply_and_for_what_was_never_confirmed() -> None:
    caller = Caller()
    for task_id, wants_reply, accepted in (
        ("a", True, True),
        ("b", True, False),
        ("c", False, False),
        ("d", False, True),
    ):
        caller.ask(task_id, wants_reply=wants_reply).accepted = accepted
    assert [call.ids for call in caller.calls.to_ask_again()] == [["a"], ["b"], ["c"]]


def test_a_deadline_that_is_near_is_not_overlooked_among_later_ones() -> None:
    caller = Caller()
    for task_id, deadline_s in (("a", 9), ("b", 3), ("c", 6)):
        caller.ask(task_id, deadline_s=deadline_s)
    due = []
    for now_s in range(10):
        for call in caller.calls.overdue(now_s):
            [task_id] = call.ids
            due.append((now_s, task_id))
            caller.calls.end(task_id, NoReply(task_id, 1, accepted=True))
            if task_id == "b":
                caller.ask("d", deadline_s=4)
    assert due == [(3, "b"), (4, "d"), (6, "c"), (9, "a")]


def failure(task_id: str) -> Reply:
    run, error = Run(attempts=1, worker="w:1"), Failure(code="expired", type="expired", text="late")
    return Reply(id=task_id, run=run, failure=error)


def test_a_failure_of_a_batch_is_the_end_of_each_of_its_calls_that_has_not_ended() -> None:
    caller = Caller()
    batch_id = caller.calls.batch_id(caller.ask("a", "b", "c"))
    caller.ask("d")
    caller.calls.end("b", reply("b"))
    assert caller.calls.end(batch_id, failure(batch_id))
    assert caller.ends == [("b", reply("b")), ("a", failure("a")), ("c", failure("c"))]
    assert list(caller.calls.calls) == ["d"]
    assert not caller.calls.end(batch_id, failure(batch_id))
    assert (caller.calls.duplicates, caller.calls.strangers) == (1, 0)
    assert caller.calls.batches == {}


def test_a_result_with_the_id_of_a_batch_is_nobody_s() -> None:
    caller = Caller()
    batch_id = caller.calls.batch_id(caller.ask("a", "b"))
    assert not caller.calls.end(batch_id, reply(batch_id))
    assert (caller.ends, caller.calls.strangers) == ([], 1)


def test_what_is_left_of_a_batch_is_asked_again_together_in_a_batch_of_its_own() -> None:
    caller = Caller()
    old = [caller.calls.batch_id(caller.ask(*ids)) for ids in ("ab", "c", "defg")]
    caller.calls.end("e", reply("e"))
    caller.calls.forget("a")
    again = caller.calls.to_ask_again()
    assert [call.ids for call in again] == [["b"], ["c"], ["d", "f", "g"]]
    new = [caller.calls.batch_id(call) for call in again]
    assert [batch_id == "" for batch_id in new] == [True, True, False]
    assert not caller.calls.end(old[2], failure(old[2]))
    for task_id in "bcdfg":
        assert caller.calls.end(task_id, reply(task_id))
    assert caller.calls.batches == {}


def test_the_memory_of_ended_calls_is_bounded_and_the_oldest_become_strangers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pending, "REMEMBERED", 2)
    caller = Caller()
    for task_id in "abcdef":
        caller.ask(task_id)
        caller.calls.end(task_id, Accepted())
    for task_id in "abcdef":
        caller.calls.end(task_id, reply(task_id))
    assert (caller.calls.duplicates, caller.calls.strangers) == (2, 4)


def test_replies_that_come_together_are_reported_together_for_each_message() -> None:
    said: list[list[str]] = []
    caller = Caller()
    for ids in ("abc", "de"):
        caller.ask(*ids).on_end = lambda ends: said.append(list(ends))
    caller.calls.end_all([reply(task_id) for task_id in "badxec"])
    assert said == [["b", "a"], ["d"], ["e"], ["c"]]
    assert (caller.calls.replies, caller.calls.strangers, caller.calls.calls) == (5, 1, {})


def test_what_is_raised_when_one_hears_of_its_end_does_not_lose_the_next() -> None:
    def fail(_ends: object) -> None:
        raise LookupError

    caller = Caller()
    caller.ask("a").on_end = fail
    caller.ask("b")
    with pytest.raises(LookupError):
        caller.calls.end_all([reply("a"), reply("b")])
    assert list(caller.calls.calls) == ["b"]


@given(st.lists(st.sampled_from("abcdefghxy"), max_size=30), st.integers(1, 8), st.booleans())
def test_many_replies_at_once_end_what_they_would_end_one_by_one(
    ids: list[str], size: int, is_failed: bool
) -> None:
    callers = Caller(), Caller()
    for caller in callers:
        for asked in ("abc", "de", "f", "gh"):
            caller.ask(*asked)
    replies = [failure(task_id) if is_failed else reply(task_id) for task_id in ids]
    for one in replies:
        callers[0].calls.end(one.id, one)
    for at in range(0, len(replies), size):
        callers[1].calls.end_all(replies[at : at + size])
    one_by_one, at_once = callers
    assert at_once.ends == one_by_one.ends
    for caller in callers:
        answered = len(caller.ends) + caller.calls.duplicates + caller.calls.strangers
        assert (answered, caller.calls.replies) == (len(ids), len(caller.ends))
    assert at_once.calls.strangers == one_by_one.calls.strangers
    assert list(at_once.calls.calls) == list(one_by_one.calls.calls)


@given(
    st.lists(st.tuples(st.sampled_from(["ask", "reply", "forget", "late"]), st.sampled_from("abcd")), max_size=40)
)
def test_every_call_ends_at_most_once_and_every_reply_is_counted_once(steps: list[tuple[str, str]]) -> None:
    caller, asked, replies = Caller(), set[str](), 0
    for step, task_id in steps:
        match step:
            case "ask" if task_id not in asked:
                asked.add(task_id)
                caller.ask(task_id)
            case "forget":
                caller.calls.forget(task_id)
            case "late" if task_id in caller.calls.calls:
                caller.calls.end(task_id, NoReply(task_id, 1, accepted=False))
            case "reply":
                replies += 1
                caller.calls.end(task_id, reply(task_id))
    ended = [task_id for task_id, _ in caller.ends]
    assert len(set(ended)) == len(ended)
    answered = sum(isinstance(end, Reply) for _, end in caller.ends)
    assert answered + caller.calls.duplicates + caller.calls.strangers == replies
    assert set(ended) | set(caller.calls.calls) <= asked
