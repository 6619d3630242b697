from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from dispatcher.pending import Accepted, End
from dispatcher.request import Request
from dispatcher.window import Ended, ends
from protocol.codec import NotEncodable
from protocol.task import Task

Launched = tuple[str, Callable[[End], None]]
Input = tuple[int, Mapping[str, Any]]


def build(arguments: Mapping[str, Any]) -> Request:
    if "bad" in arguments:
        raise NotEncodable("a set")
    return Request(task=Task(id=str(arguments["n"]), name="task_a", body=b"\x80"))


async def numbered(count: int, taken: list[int] | None = None) -> AsyncIterator[Input]:
    for number in range(1, count + 1):
        if taken is not None:
            taken.append(number)
        yield number, {"n": number}


async def these(*inputs: Mapping[str, Any]) -> AsyncIterator[Input]:
    for line, arguments in enumerate(inputs, start=1):
        yield line, arguments


class Broker:
    """Collects what was launched; ``answer`` ends it."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.launched: list[Launched] = []
        self.at_once = at_once
        self.under_way = 0
        self.most = 0

    def launch(self, request: Request, on_end: Callable[[End], None]) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self.launched.append((request.task.id, on_end))
        if self.at_once:
            self.answer(-1)

    def answer(self, index: int, end: End | None = None) -> None:
        self.under_way -= 1
        self.launched[index][1](end or Accepted())


def in_a_loop(story: Callable[[], Any]) -> Any:
    return asyncio.run(asyncio.wait_for(story(), 10))


def opened(
    inputs: AsyncIterator[Input],
    build: Callable[[Mapping[str, Any]], Request],
    launch: Callable[[Request, Callable[[End], None]], None],
    window: int,
) -> AsyncGenerator[Ended, None]:
    """The stream of ends, which the story closes itself."""
    stream = ends(inputs, build, launch, lambda _task_id: None, window)
    assert isinstance(stream, AsyncGenerator)
    return stream


async def turns(number: int = 10) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def take(stream: AsyncIterator[Ended], number: int) -> list[Ended]:
    return [await anext(stream) for _ in range(number)]


def test_no_inputs_give_no_ends() -> None:
    async def story() -> None:
        assert [ended async for ended in ends(these(), build, Broker().launch, lambda _task_id: None, 3)] == []

    in_a_loop(story)


@pytest.mark.parametrize("at_once", [True, False])
def test_every_input_ends_once_and_carries_its_line(at_once: bool) -> None:
    async def story() -> None:
        broker = Broker(at_once=at_once)
        seen: list[Ended] = []

        async def answer_all() -> None:
            answered = 0
            while len(seen) < 20:
                while answered < len(broker.launched):
                    broker.answer(answered)
                    answered += 1
                await asyncio.sleep(0)

        answering = None if at_once else asyncio.create_task(answer_all())
        seen.extend([ended async for ended in ends(numbered(20), build, broker.launch, lambda _task_id: None, 3)])
        if answering is not None:
            await answering
        assert sorted(ended.line for ended in seen) == list(range(1, 21))
        assert all(ended.id == str(ended.line) for ended in seen)
        assert broker.most <= 3

    in_a_loop(story)


def test_no_more_inputs_are_taken_than_there_is_room_for() -> None:
    async def story() -> None:
        broker, taken = Broker(), list[int]()
        stream = opened(numbered(100, taken), build, broker.launch, 4)
        first = asyncio.create_task(anext(stream))
        await turns()
        assert taken == [1, 2, 3, 4]
        broker.answer(2)
        assert (await first).line == 3
        await turns()
        assert taken == [1, 2, 3, 4, 5]
        broker.answer(0)
        await turns()
        assert taken == [1, 2, 3, 4, 5]
        assert (await anext(stream)).line == 1
        await stream.aclose()

    in_a_loop(story)


def test_ends_come_in_the_order_of_completion() -> None:
    async def story() -> None:
        broker = Broker()
        stream = opened(numbered(3), build, broker.launch, 3)
        first = asyncio.create_task(anext(stream))
        await turns()
        for index in (2, 0, 1):
            broker.answer(index)
        assert [ended.line for ended in [await first, *await take(stream, 2)]] == [3, 1, 2]

    in_a_loop(story)


def test_an_input_that_cannot_be_encoded_ends_by_itself_and_the_rest_go_on() -> None:
    async def story() -> None:
        broker = Broker(at_once=True)
        inputs = these({"n": 1}, {"bad": True}, {"n": 3})
        seen = {
            ended.line: ended.end async for ended in ends(inputs, build, broker.launch, lambda _task_id: None, 2)
        }
        assert isinstance(seen[2], NotEncodable)
        assert seen[1] == seen[3] == Accepted()

    in_a_loop(story)


def test_whoever_leaves_early_is_told_of_no_further_end_and_the_rest_is_forgotten() -> None:
    async def story() -> None:
        broker, forgotten = Broker(), list[str]()
        stream = ends(numbered(5), build, broker.launch, forgotten.append, 3)
        first = asyncio.create_task(anext(stream))
        await turns()
        broker.answer(0)
        await first
        await turns()
        await stream.aclose()
        assert sorted(forgotten) == sorted(task_id for task_id, _ in broker.launched[1:])

    in_a_loop(story)


def test_what_is_under_way_still_ends_when_the_inputs_fail() -> None:
    async def story() -> None:
        broker = Broker()

        async def broken() -> AsyncIterator[Input]:
            yield 1, {"n": 1}
            raise OSError("the disk is gone")

        stream = ends(broken(), build, broker.launch, lambda _task_id: None, 2)
        first = asyncio.create_task(anext(stream))
        await turns()
        broker.answer(0)
        assert (await first).line == 1
        with pytest.raises(OSError, match="the disk is gone"):
            await anext(stream)

    in_a_loop(story)


def test_an_end_is_given_while_the_next_input_is_still_awaited() -> None:
    """One line in, one line out: whoever writes the next line only after the answer to the last must not hang."""

    async def story() -> None:
        broker, next_line = Broker(), asyncio.Event()

        async def lines() -> AsyncIterator[Input]:
            yield 1, {"n": 1}
            await next_line.wait()
            yield 2, {"n": 2}

        stream = opened(lines(), build, broker.launch, 10)
        first = asyncio.create_task(anext(stream))
        await turns()
        broker.answer(0)
        ended = await asyncio.wait_for(first, 2)
        assert ended.line == 1
        next_line.set()
        second = asyncio.create_task(anext(stream))
        await turns()
        broker.answer(1)
        assert (await second).line == 2

    in_a_loop(story)


def test_an_error_of_the_inputs_reaches_whoever_reads_the_ends() -> None:
    async def story() -> None:
        async def broken() -> AsyncIterator[Input]:
            yield 1, {"n": 1}
            raise OSError("the disk is gone")

        with pytest.raises(OSError, match="the disk is gone"):
            async for _ in ends(broken(), build, Broker(at_once=True).launch, lambda _task_id: None, 2):
                pass

    in_a_loop(story)


def test_closing_the_stream_takes_no_further_inputs() -> None:
    async def story() -> None:
        broker, taken = Broker(), list[int]()
        stream = opened(numbered(100, taken), build, broker.launch, 2)
        first = asyncio.create_task(anext(stream))
        await turns()
        broker.answer(0)
        await first
        await stream.aclose()
        before = list(taken)
        broker.answer(1)
        await turns()
        assert taken == before

    in_a_loop(story)
