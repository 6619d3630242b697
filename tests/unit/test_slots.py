from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.context import Current
from worker.execution.handler import Call
from worker.execution.outcome import Done, Outcome
from worker.execution.slots import Slots


class Holders:
    """Calls that run until told; which began, in which order and together with whom, and which came back."""

    def __init__(self, size: int | None) -> None:
        self.slots = Slots(size, self._begin)
        self.begun: list[list[str]] = []
        self.running: dict[str, Call] = {}
        self.back: list[str] = []
        #: Those that end where they begin.
        self.short: set[str] = set()

    def add(self, *names: str) -> None:
        self.slots.add([self._call(name) for name in names])

    def end(self, name: str) -> None:
        self.running.pop(name).on_end(Done(b"\xc0"), 0.0)

    def _call(self, name: str) -> Call:
        def on_end(outcome: Outcome | None, _ran_s: float) -> None:
            if outcome is None:
                self.back.append(name)
            self.slots.release()

        context = Current(id=name, task="t", queue="q", attempt=1, max_attempts=1)
        return Call(context, context.task, b"\x80", 1.0, 0, on_end)

    def _begin(self, calls: list[Call]) -> None:
        self.begun.append([call.context.id for call in calls])
        for call in calls:
            self.running[call.context.id] = call
            if call.context.id in self.short:
                self.end(call.context.id)


def test_as_many_run_as_there_are_slots_and_the_rest_wait_in_line() -> None:
    holders = Holders(2)
    for name in "abcd":
        holders.add(name)
    assert list(holders.running) == ["a", "b"]
    holders.end("b")
    assert list(holders.running) == ["a", "c"]
    holders.end("a")
    assert list(holders.running) == ["c", "d"]
    assert holders.begun == [["a"], ["b"], ["c"], ["d"]]


def test_calls_that_came_together_take_a_slot_each() -> None:
    holders = Holders(2)
    holders.add("a", "b", "c")
    assert holders.begun == [["a"], ["b"]]
    holders.end("a")
    assert holders.begun[-1] == ["c"]


def test_without_a_bound_all_begin_at_once_and_stay_together() -> None:
    holders = Holders(None)
    holders.add("a", "b")
    holders.add("c")
    assert holders.begun == [["a", "b"], ["c"]]
    holders.end("a")
    assert list(holders.running) == ["b", "c"]


def test_those_that_wait_can_be_withdrawn_and_those_that_run_go_on() -> None:
    holders = Holders(1)
    holders.add("a", "b", "c")
    holders.slots.withdraw()
    assert (list(holders.running), holders.back) == (["a"], ["b", "c"])
    holders.end("a")
    assert holders.running == {}
    holders.add("d")
    assert list(holders.running) == ["d"]


def test_many_that_end_where_they_begin_do_not_pile_up() -> None:
    holders = Holders(1)
    holders.short = {str(number) for number in range(5000)}
    holders.add(*holders.short)
    assert len(holders.begun) == 5000
    assert holders.running == {}


@given(st.integers(1, 4), st.lists(st.sampled_from(["add", "end first", "end last", "withdraw"]), max_size=60))
def test_whatever_happens_no_slot_is_lost_and_none_is_given_twice(size: int, story: list[str]) -> None:
    holders, added = Holders(size), 0
    for what in story:
        if what == "add":
            holders.add(str(added))
            added += 1
        elif what == "withdraw":
            holders.slots.withdraw()
        elif holders.running:
            holders.end(list(holders.running)[0 if what == "end first" else -1])
        waiting = added - len(holders.begun) - len(holders.back)
        assert len(holders.running) == min(size, len(holders.running) + waiting)
    begun = [int(name) for names in holders.begun for name in names]
    assert begun == sorted(begun)
