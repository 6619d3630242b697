"""Many calls at once: each input has its own end, and never more than the window is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from broker.errors import Refused
from dispatcher.client import Dispatcher
from dispatcher.errors import NoReply, UnknownTask
from dispatcher.window import Ended
from protocol.codec import NotEncodable
from protocol.reply import Reply
from tests.support.administrator import limit_length
from tests.support.by_hand import answer
from tests.support.caller import Caller
from tests.support.installation import Installation
from tests.support.vhost import Vhost
from tests.support.waiting import eventually, run


def results(ends: list[Ended]) -> dict[int, Any]:
    """The result of each line, every one of which must have one."""
    found = {}
    for ended in ends:
        assert isinstance(ended.end, Reply), ended
        assert (ended.end.failure, ended.end.id) == (None, ended.id)
        found[ended.line] = ended.end.result
    assert len(found) == len(ends)
    return found


@pytest.mark.every_broker(long=True)
def test_each_input_gets_its_own_reply_in_order_of_completion(installation: Installation) -> None:
    installation.worker()

    async def scenario() -> None:
        async with Dispatcher(installation.settings) as dispatcher:
            seconds = [1.0, *([0.01] * 20)]
            slow = [ended async for ended in dispatcher.map("task_a", ({"seconds": one} for one in seconds))]
            assert slow[-1].line == 1
            assert {line: one["slept"] for line, one in results(slow).items()} == dict(enumerate(seconds, 1))
            assert [ended async for ended in dispatcher.map("echo", [])] == []

    run(scenario())


@pytest.mark.every_broker(long=True)
def test_never_more_than_the_window_is_in_progress(installation: Installation) -> None:
    vhost, caller, window, total = installation.vhost, installation.caller(), 7, 25
    taken: list[int] = []
    ended: list[int] = []

    def inputs() -> Iterator[dict[str, int]]:
        for number in range(total):
            taken.append(number)
            yield {"value": number}

    async def mapped() -> None:
        async for one in caller.dispatcher.map("echo", inputs(), window=window):
            ended.append(one.line)

    mapping = caller.start(mapped())
    # Whoever looked ahead would have published more by now: all of a window leave in one write.
    under_way = vhost.messages("queue_a", window)
    answered = 0
    while under_way:
        assert vhost.ready("queue_a") == 0
        # One more input may be in hand, waiting for room.
        assert len(taken) <= answered + window + 1
        answer(vhost, under_way.pop(0))
        answered += 1
        eventually(lambda expected=answered: len(ended) == expected, "the end")  # type: ignore[misc]
        if answered + window <= total:
            under_way += vhost.messages("queue_a")
    mapping.result(10)
    assert (len(taken), sorted(ended)) == (total, list(range(1, total + 1)))


def test_a_slow_input_does_not_hold_up_the_results(installation: Installation) -> None:
    installation.worker()

    async def scenario() -> None:
        came = asyncio.Event()

        async def inputs() -> AsyncIterator[dict[str, int]]:
            yield {"value": 1}
            await came.wait()
            yield {"value": 2}

        async with Dispatcher(installation.settings) as dispatcher:
            order = []
            async for ended in dispatcher.map("echo", inputs()):
                order.append(ended.line)
                came.set()
            assert order == [1, 2]

    run(scenario(), 15)


def test_an_input_that_cannot_be_sent_ends_alone(installation: Installation) -> None:
    installation.worker()

    async def scenario() -> None:
        async with Dispatcher(installation.settings) as dispatcher:
            values: list[Any] = [1, object(), "x" * 2_000_000, 4]
            ends = [one async for one in dispatcher.map("echo", [{"value": value} for value in values], window=1)]
            refused = [ended for ended in ends if not isinstance(ended.end, Reply)]
            assert [(ended.line, ended.id) for ended in refused] == [(2, ""), (3, "")]
            assert all(isinstance(ended.end, NotEncodable) for ended in refused)
            assert results([ended for ended in ends if ended not in refused]) == {1: 1, 4: 4}

    run(scenario())


def test_each_input_of_an_unknown_task_ends_as_unknown(installation: Installation) -> None:
    async def scenario() -> None:
        async with Dispatcher(installation.settings) as dispatcher:
            ends = [one async for one in dispatcher.map("task_c", [{}] * 5, window=2)]
            assert sorted(ended.line for ended in ends) == [1, 2, 3, 4, 5]
            assert all(isinstance(ended.end, UnknownTask) for ended in ends)

    run(scenario())


def test_the_timeout_is_for_each_input_and_makes_room_for_the_next(installation: Installation) -> None:
    async def scenario() -> None:
        async with Dispatcher(installation.settings) as dispatcher:
            ends = [one async for one in dispatcher.map("echo", [{}] * 6, window=2, timeout_s=0.3)]
            assert sorted(ended.line for ended in ends) == [1, 2, 3, 4, 5, 6]
            assert all(isinstance(ended.end, NoReply) for ended in ends)

    run(scenario())
    assert installation.vhost.ready("queue_a") == 6


def test_the_replies_of_concurrent_maps_are_not_mixed(installation: Installation) -> None:
    installation.worker()

    async def scenario() -> None:
        async with Dispatcher(installation.settings) as dispatcher:

            async def mapped(name: str) -> dict[int, Any]:
                values = ({"value": [name, number]} for number in range(60))
                return results([ended async for ended in dispatcher.map("echo", values, window=9)])

            names = ["one", "two", "three"]
            for name, found in zip(names, await asyncio.gather(*map(mapped, names)), strict=True):
                assert found == {number + 1: [name, number] for number in range(60)}
            assert (dispatcher.duplicates, dispatcher.strangers) == (0, 0)

    run(scenario())


def test_a_map_that_is_left_early_takes_no_more_inputs_and_disturbs_nobody(installation: Installation) -> None:
    installation.worker()
    taken: list[int] = []

    async def inputs() -> AsyncIterator[dict[str, int]]:
        for number in range(10_000):
            taken.append(number)
            yield {"value": number}

    async def scenario() -> None:
        async with Dispatcher(installation.settings) as dispatcher:
            mapping = dispatcher.map("echo", inputs(), window=5)
            assert isinstance((await anext(mapping)).end, Reply)
            await mapping.aclose()  # type: ignore[attr-defined]
            assert await dispatcher.call("echo", {"value": "after"}) == "after"
            until = len(taken)
            for number in range(5):
                assert await dispatcher.call("echo", {"value": number}) == number
            assert len(taken) == until < 20

    run(scenario())


def test_an_error_of_the_inputs_reaches_the_caller(installation: Installation) -> None:
    installation.worker()

    def inputs() -> Iterator[dict[str, int]]:
        yield {"value": 1}
        raise LookupError("no more")

    async def scenario() -> None:
        async with Dispatcher(installation.settings) as dispatcher:
            with pytest.raises(LookupError, match="no more"):
                [one async for one in dispatcher.map("echo", inputs())]

    run(scenario())


def fill(vhost: Vhost, caller: Caller) -> None:
    """Let the queue take hardly anything, and fill it."""
    limit_length(vhost, "queue_a", 1)

    def is_full() -> bool:
        try:
            caller.submit("echo")
        except Refused:
            return True
        return False

    eventually(is_full, "the refusal")


def test_an_input_that_is_refused_for_as_long_as_its_timeout_ends_then(installation: Installation) -> None:
    caller = installation.caller()
    fill(installation.vhost, caller)

    async def mapped() -> list[Ended]:
        async with asyncio.timeout(5):
            return [one async for one in caller.dispatcher.map("echo", [{}] * 2, timeout_s=1.0)]

    assert sorted(ended.line for ended in caller.run(mapped())) == [1, 2]


def test_an_input_that_was_refused_first_and_accepted_then_is_not_said_to_be_stored_nowhere(
    installation: Installation,
) -> None:
    vhost, caller = installation.vhost, installation.caller()
    fill(vhost, caller)
    before = caller.dispatcher.metrics.nacked

    async def mapped() -> list[Ended]:
        return [one async for one in caller.dispatcher.map("echo", [{}] * 2, timeout_s=5.0)]

    ends = caller.start(mapped())
    eventually(lambda: caller.dispatcher.metrics.nacked >= before + 2, "two refusals")
    stored = vhost.ready("queue_a")
    limit_length(vhost, "queue_a", 100)
    assert [type(one.end) for one in ends.result(15)] == [NoReply] * 2
    assert vhost.ready("queue_a") == stored + 2
