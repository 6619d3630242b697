from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from worker.execution.concurrency_limiter import ConcurrencyLimiter
from worker.execution.executor import Result, Run, Terms
from worker.execution.outcome import Done

TERMS = Terms(task="t", handler="t", queue="q", max_attempts=1, timeout_s=1.0)


class Holders:
    """Runs that go on until ended; which began, in which order, and which came back."""

    def __init__(self, size: int) -> None:
        self.limiter = ConcurrencyLimiter(size, self._begin)
        self.begun: list[str] = []
        self.running: dict[str, Run] = {}
        self.back: list[str] = []
        #: Those that end where they begin.
        self.short: set[str] = set()

    def add(self, *names: str) -> None:
        for name in names:
            self.limiter.add(self._run(name))

    def end(self, name: str) -> None:
        self.running.pop(name).on_results([(0, Done(b"\xc0"), 0.0)])

    def _run(self, name: str) -> Run:
        def on_results(results: Sequence[Result]) -> None:
            if results[0][1] is None:
                self.back.append(name)
            self.limiter.release()

        return Run(TERMS, [name], [b"\x80"], 1, 0, on_results)

    def _begin(self, run: Run) -> None:
        [name] = run.ids
        self.begun.append(name)
        self.running[name] = run
        if name in self.short:
            self.end(name)


def test_as_many_run_as_the_limit_says_and_the_rest_wait_in_line() -> None:
    holders = Holders(2)
    for name in "abcd":
        holders.add(name)
    assert list(holders.running) == ["a", "b"]
    holders.end("b")
    assert list(holders.running) == ["a", "c"]
    holders.end("a")
    assert list(holders.running) == ["c", "d"]
    assert holders.begun == ["a", "b", "c", "d"]


def test_runs_that_came_together_count_one_each() -> None:
    holders = Holders(2)
    holders.add("a", "b", "c")
    assert holders.begun == ["a", "b"]
    holders.end("a")
    assert holders.begun[-1] == "c"


def test_those_that_wait_can_be_withdrawn_and_those_that_run_go_on() -> None:
    holders = Holders(1)
    holders.add("a", "b", "c")
    holders.limiter.withdraw()
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
def test_whatever_happens_no_place_is_lost_and_none_is_given_twice(size: int, story: list[str]) -> None:
    holders, added = Holders(size), 0
    for what in story:
        if what == "add":
            holders.add(str(added))
            added += 1
        elif what == "withdraw":
            holders.limiter.withdraw()
        elif holders.running:
            holders.end(list(holders.running)[0 if what == "end first" else -1])
        waiting = added - len(holders.begun) - len(holders.back)
        assert len(holders.running) == min(size, len(holders.running) + waiting)
    begun = [int(name) for name in holders.begun]
    assert begun == sorted(begun)
