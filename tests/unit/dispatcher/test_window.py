from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from itertools import count
from typing import Any

import pytest

from dispatcher.pace import LearningPace, Pace, pace
from dispatcher.pending import Accepted, End, OnEnd
from dispatcher.window import BATCH_BYTES, LINGER_S, Ended, Launch, chunks_of_ends, one_by_one
from protocol.codec import NotEncodable
from protocol.limits import DEFAULT_LIMITS
from protocol.reply import Reply, Run

Launched = tuple[str, OnEnd]
Input = tuple[int, Mapping[str, Any]]


def pack(arguments: Mapping[str, Any]) -> bytes:
    if "bad" in arguments:
        raise NotEncodable("a set")
    return bytes(arguments.get("bytes", 1))


def at_most(window: int, size: int = 1) -> Pace:
    return Pace(window, size, window)


async def numbered(number_of_inputs: int, taken: list[int] | None = None) -> AsyncIterator[Input]:
    for number in range(1, number_of_inputs + 1):
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
        #: The ids that were launched together.
        self.messages: list[list[str]] = []
        self.at_once = at_once
        self.under_way = 0
        self.most = 0

    def launch(self, tasks: dict[str, bytes], on_end: OnEnd) -> None:
        self.under_way += len(tasks)
        self.most = max(self.most, self.under_way)
        self.messages.append(list(tasks))
        for task_id in tasks:
            self.launched.append((task_id, on_end))
            if self.at_once:
                self.answer(-1)

    def answer(self, index: int, end: End | None = None) -> None:
        self.under_way -= 1
        task_id, on_end = self.launched[index]
        on_end({task_id: end or Accepted()})


def ends(
    inputs: AsyncIterator[Input],
    pack: Callable[[Mapping[str, Any]], bytes],
    launch: Launch,
    forget: Callable[[str], None],
    pace: Pace,
    batch_bytes: int = BATCH_BYTES,
) -> AsyncGenerator[Ended, None]:
    return one_by_one(chunks_of_ends(inputs, pack, map(str, count(1)), launch, forget, pace, batch_bytes))


def in_a_loop(story: Callable[[], Any]) -> Any:
    return asyncio.run(asyncio.wait_for(story(), 10))


def opened(
    inputs: AsyncIterator[Input],
    pack: Callable[[Mapping[str, Any]], bytes],
    launch: Launch,
    window: int | Pace,
    size: int = 1,
    batch_bytes: int = BATCH_BYTES,
) -> AsyncGenerator[Ended, None]:
    """The stream of ends, which the story closes itself."""
    pace = window if isinstance(window, Pace) else at_most(window, size)
    stream = ends(inputs, pack, launch, lambda _task_id: None, pace, batch_bytes)
    assert isinstance(stream, AsyncGenerator)
    return stream


async def turns(number: int = 10) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def take(stream: AsyncIterator[Ended], number: int) -> list[Ended]:
    return [await anext(stream) for _ in range(number)]


def test_no_inputs_give_no_ends() -> None:
    async def story() -> None:
        assert [
            ended async for ended in ends(these(), pack, Broker().launch, lambda _task_id: None, at_most(3))
        ] == []

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
        seen.extend(
            [ended async for ended in ends(numbered(20), pack, broker.launch, lambda _task_id: None, at_most(3))]
        )
        if answering is not None:
            await answering
        assert sorted(ended.line for ended in seen) == list(range(1, 21))
        assert all(ended.id == str(ended.line) for ended in seen)
        assert broker.most <= 3

    in_a_loop(story)


def test_no_more_inputs_are_taken_than_there_is_room_for() -> None:
    async def story() -> None:
        broker, taken = Broker(), list[int]()
        stream = opened(numbered(100, taken), pack, broker.launch, 4)
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
        stream = opened(numbered(3), pack, broker.launch, 3)
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
            ended.line: ended.end
            async for ended in ends(inputs, pack, broker.launch, lambda _task_id: None, at_most(2))
        }
        assert isinstance(seen[2], NotEncodable)
        assert seen[1] == seen[3] == Accepted()

    in_a_loop(story)


def test_a_caller_that_leaves_early_gets_no_further_end_and_the_rest_is_forgotten() -> None:
    async def story() -> None:
        broker, forgotten = Broker(), list[str]()
        stream = ends(numbered(5), pack, broker.launch, forgotten.append, at_most(3))
        first = asyncio.create_task(anext(stream))
        await turns()
        broker.answer(0)
        await first
        await turns()
        await stream.aclose()
        assert sorted(forgotten) == sorted(task_id for task_id, _ in broker.launched[1:])

    in_a_loop(story)


def test_what_is_in_progress_still_ends_when_the_inputs_fail() -> None:
    async def story() -> None:
        broker = Broker()

        async def broken() -> AsyncIterator[Input]:
            yield 1, {"n": 1}
            raise OSError("the disk is gone")

        stream = ends(broken(), pack, broker.launch, lambda _task_id: None, at_most(2))
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

        stream = opened(lines(), pack, broker.launch, 10)
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


def test_an_error_of_the_inputs_reaches_the_reader_of_the_ends() -> None:
    async def story() -> None:
        async def broken() -> AsyncIterator[Input]:
            yield 1, {"n": 1}
            raise OSError("the disk is gone")

        with pytest.raises(OSError, match="the disk is gone"):
            async for _ in ends(broken(), pack, Broker(at_once=True).launch, lambda _task_id: None, at_most(2)):
                pass

    in_a_loop(story)


def test_closing_the_stream_takes_no_further_inputs() -> None:
    async def story() -> None:
        broker, taken = Broker(), list[int]()
        stream = opened(numbered(100, taken), pack, broker.launch, 2)
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


def lengths(broker: Broker) -> list[int]:
    return [len(message) for message in broker.messages]


@pytest.mark.parametrize(("inputs", "expected"), [(6, [3, 3]), (8, [3, 3, 2]), (2, [2]), (0, [])])
def test_inputs_that_are_there_are_launched_together_and_the_rest_as_soon_as_they_end(
    inputs: int, expected: list[int]
) -> None:
    async def story() -> None:
        broker = Broker(at_once=True)
        seen = [one async for one in ends(numbered(inputs), pack, broker.launch, lambda _: None, at_most(100, 3))]
        assert lengths(broker) == expected
        assert sorted(ended.line for ended in seen) == list(range(1, inputs + 1))

    in_a_loop(story)


def test_a_slow_input_holds_up_neither_the_rest_of_its_batch_nor_its_end() -> None:
    async def story() -> None:
        broker, next_line = Broker(at_once=True), asyncio.Event()

        async def lines() -> AsyncIterator[Input]:
            yield 1, {"n": 1}
            yield 2, {"n": 2}
            await next_line.wait()
            yield 3, {"n": 3}

        stream = opened(lines(), pack, broker.launch, 100, size=50)
        assert [ended.line for ended in await take(stream, 2)] == [1, 2]
        next_line.set()
        assert (await anext(stream)).line == 3
        assert lengths(broker) == [2, 1]

    in_a_loop(story)


def test_a_batch_is_begun_only_where_there_is_room_for_all_of_it() -> None:
    async def story() -> None:
        broker = Broker()
        stream = opened(numbered(100), pack, broker.launch, 10, size=4)
        following = asyncio.create_task(anext(stream))
        await turns()
        assert lengths(broker) == [4, 4]
        for index in range(2):
            broker.answer(index)
            await following
            following = asyncio.create_task(anext(stream))
            await turns()
        assert lengths(broker) == [4, 4, 4]
        assert broker.most <= 10
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    in_a_loop(story)


def test_a_batch_is_cut_by_its_bytes_and_a_task_that_is_larger_goes_alone() -> None:
    async def story() -> None:
        broker = Broker(at_once=True)
        sizes = [100, 100, 100, 5000, 100, 100]
        inputs = these(*({"n": number, "bytes": size} for number, size in enumerate(sizes)))
        stream = opened(inputs, pack, broker.launch, 100, size=50, batch_bytes=300)
        assert len([ended async for ended in stream]) == len(sizes)
        assert broker.messages == [["1", "2"], ["3"], ["4"], ["5", "6"]]

    in_a_loop(story)


def test_a_caller_that_leaves_while_a_batch_is_gathered_sends_nothing_more() -> None:
    async def story() -> None:
        broker, never = Broker(), asyncio.Event()

        async def lines() -> AsyncIterator[Input]:
            for number in range(1, 5):
                yield number, {"n": number}
            await never.wait()

        stream = opened(lines(), pack, broker.launch, 100, size=3)
        first = asyncio.create_task(anext(stream))
        await turns()
        broker.answer(0)
        await first
        await stream.aclose()
        await asyncio.sleep(2 * LINGER_S)
        assert lengths(broker) == [3]

    in_a_loop(story)


def test_what_was_gathered_is_still_sent_when_the_inputs_fail() -> None:
    async def story() -> None:
        async def broken() -> AsyncIterator[Input]:
            yield 1, {"n": 1}
            raise OSError("the disk is gone")

        stream = opened(broken(), pack, Broker(at_once=True).launch, 100, size=50)
        assert (await anext(stream)).line == 1
        with pytest.raises(OSError, match="the disk is gone"):
            await anext(stream)

    in_a_loop(story)


def test_batches_grow_by_what_was_answered_and_few_are_in_progress_until_they_fit() -> None:
    async def story() -> None:
        broker, learned = Broker(), pace("auto", 3200, DEFAULT_LIMITS)
        assert isinstance(learned, LearningPace)
        done = Reply(id="", run=Run(attempts=1, worker="w:1"))
        stream = opened(numbered(12_000), pack, broker.launch, learned)
        answered, took = 0, 0
        while took < 12_000:
            following = asyncio.create_task(anext(stream))
            await turns(2)
            if learned.messages < 500:
                assert broker.under_way <= 32 * learned.size
            while answered < len(broker.launched):
                broker.answer(answered, done)
                answered += 1
            await following
            took += 1
            while took < answered:
                await anext(stream)
                took += 1
        grown = lengths(broker)
        assert grown[:32] == [1] * 32
        assert max(grown) == 200
        for larger in range(1, len(grown)):
            assert grown[larger] <= 2 * max(grown[:larger])

    in_a_loop(story)


def test_ends_that_come_together_are_given_each_with_its_own_line_and_make_room() -> None:
    async def story() -> None:
        broker = Broker()
        stream = opened(numbered(9), pack, broker.launch, 6, size=3)
        following = asyncio.create_task(anext(stream))
        await turns()
        assert lengths(broker) == [3, 3]
        _, on_end = broker.launched[0]
        on_end({"3": Accepted(), "1": Accepted()})
        given = [await following, await anext(stream)]
        on_end({"2": Accepted()})
        given.append(await anext(stream))
        assert [(ended.line, ended.id) for ended in given] == [(3, "3"), (1, "1"), (2, "2")]
        await turns()
        assert lengths(broker) == [3, 3, 3]
        await stream.aclose()

    in_a_loop(story)


def test_a_task_that_left_its_batch_for_a_retry_does_not_keep_the_next_ones_small() -> None:
    async def story() -> None:
        broker, learned = Broker(), LearningPace(1000, 4, 64, 100)
        done = Reply(id="", run=Run(attempts=1, worker="w:1", ran_ms=2))
        stream = opened(numbered(4), pack, broker.launch, learned)
        following = asyncio.create_task(anext(stream))
        await turns()
        broker.answer(0, done)
        assert learned.size == 4
        broker.answer(1, done)
        assert (learned.size, learned.mean_ms) == (8, 2.0)
        await following
        await stream.aclose()

    in_a_loop(story)
