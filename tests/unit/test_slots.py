from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.slots import Draining, Slots


class Holders:
    """Tasks that take a slot and keep it until told; who entered, in which order, and who was sent back."""

    def __init__(self, size: int) -> None:
        self.slots = Slots(size)
        self.entered: list[int] = []
        self.inside: dict[int, asyncio.Event] = {}
        self.sent_back: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []

    def add(self) -> None:
        self.tasks.append(asyncio.create_task(self._hold(len(self.tasks))))

    async def _hold(self, number: int) -> None:
        try:
            async with self.slots:
                self.entered.append(number)
                self.inside[number] = asyncio.Event()
                try:
                    await self.inside[number].wait()
                finally:
                    del self.inside[number]
        except Draining:
            self.sent_back.append(number)

    async def settle(self) -> None:
        """Let every task run until it can go no further."""
        for _ in range(2 * len(self.tasks) + 5):
            await asyncio.sleep(0)

    async def finish(self) -> None:
        for event in list(self.inside.values()):
            event.set()


def in_a_loop(story: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 10))


def test_as_many_run_as_there_are_slots_and_the_rest_wait_in_line() -> None:
    async def story() -> None:
        holders = Holders(2)
        for _ in range(4):
            holders.add()
        await holders.settle()
        assert list(holders.inside) == [0, 1]
        holders.inside[1].set()
        await holders.settle()
        assert list(holders.inside) == [0, 2]
        holders.inside[0].set()
        await holders.settle()
        assert holders.entered == [0, 1, 2, 3]
        await holders.finish()
        await asyncio.gather(*holders.tasks)
        assert holders.slots.busy == 0

    in_a_loop(story)


def test_once_closed_who_waits_and_who_comes_is_sent_back_and_who_runs_goes_on() -> None:
    async def story() -> None:
        holders = Holders(1)
        for _ in range(3):
            holders.add()
        await holders.settle()
        holders.slots.close()
        holders.add()
        await holders.settle()
        assert sorted(holders.sent_back) == [1, 2, 3]
        assert list(holders.inside) == [0]
        await holders.finish()
        await asyncio.gather(*holders.tasks)
        assert holders.slots.busy == 0

    in_a_loop(story)


def test_a_slot_given_to_one_who_is_cancelled_at_that_moment_goes_to_the_next() -> None:
    async def story() -> None:
        holders = Holders(1)
        for _ in range(3):
            holders.add()
        await holders.settle()
        holders.inside[0].set()
        # The first ends, and its slot is handed over, before the second can run.
        await asyncio.sleep(0)
        assert not holders.inside
        assert holders.slots.busy == 1
        holders.tasks[1].cancel()
        await holders.settle()
        assert list(holders.inside) == [2]
        await holders.finish()
        await asyncio.gather(*holders.tasks, return_exceptions=True)
        assert holders.slots.busy == 0

    in_a_loop(story)


def test_an_error_inside_gives_the_slot_back() -> None:
    async def story() -> None:
        slots = Slots(1)
        with pytest.raises(ZeroDivisionError):
            async with slots:
                raise ZeroDivisionError
        assert slots.busy == 0

    in_a_loop(story)


steps = st.lists(
    st.tuples(st.sampled_from(["add", "end", "cancel", "yield", "close"]), st.integers(0, 9)), max_size=40
)


@given(st.integers(1, 4), steps)
def test_slots_are_never_more_than_their_number_and_never_leak(size: int, steps: list[tuple[str, int]]) -> None:
    async def story() -> None:
        holders = Holders(size)
        for step, number in steps:
            match step:
                case "add":
                    holders.add()
                case "end" if number in holders.inside:
                    holders.inside[number].set()
                case "cancel" if number < len(holders.tasks):
                    holders.tasks[number].cancel()
                case "close":
                    holders.slots.close()
                case _:
                    await asyncio.sleep(0)
            assert len(holders.inside) <= holders.slots.busy <= size
        await holders.settle()
        waiting = sum(not task.done() for task in holders.tasks) - len(holders.inside)
        assert waiting == 0 or holders.slots.busy == len(holders.inside) == size
        while holders.inside:
            await holders.finish()
            await holders.settle()
        await asyncio.gather(*holders.tasks, return_exceptions=True)
        assert holders.slots.busy == 0

    in_a_loop(story)
