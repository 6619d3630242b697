"""Many tasks in one message: each keeps its own id, reply, deadline and line. The worker is played by the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from dispatcher.blocking import BlockingDispatcher
from dispatcher.errors import BadRequest, NoReply, UnknownTask
from dispatcher.window import Ended
from protocol.names import is_id
from protocol.reply import Reply
from tests.support.administrator import close_connections, limit_length
from tests.support.by_hand import answer, failure, reply, tasks_of, together
from tests.support.caller import Caller
from tests.support.commands import Running
from tests.support.installation import Installation
from tests.support.vhost import Letter
from tests.support.waiting import eventually


class Mapping:
    """A map under way, and the ends that it has given so far."""

    def __init__(
        self, caller: Caller, inputs: Iterable[dict[str, Any]], *, task: str = "echo", **options: Any
    ) -> None:
        self.ends: list[Ended] = []
        self._over = caller.start(self._run(caller, task, inputs, options))

    async def _run(self, caller: Caller, task: str, inputs: Iterable[dict[str, Any]], options: Any) -> None:
        async for ended in caller.dispatcher.map(task, inputs, **options):
            self.ends.append(ended)

    def wait(self) -> list[Ended]:
        self._over.result(20)
        return self.ends

    def results(self) -> dict[int, Any]:
        """The result of each line, every one of which must have one."""
        return {ended.line: _result(ended) for ended in self.wait()}

    def after(self, number: int) -> list[int]:
        """Wait for so many ends; their lines."""
        eventually(lambda: len(self.ends) >= number, f"{number} ends")
        return [ended.line for ended in self.ends]


def _result(ended: Ended) -> Any:
    assert isinstance(ended.end, Reply), ended
    assert (ended.end.failure, ended.end.id) == (None, ended.id)
    return ended.end.result


def numbered(count: int) -> list[dict[str, int]]:
    return [{"value": number} for number in range(count)]


def echoes(letter: Letter) -> list[bytes]:
    """A reply to each task of a message, in its order, with its own argument as result."""
    return [reply(task_id, arguments["value"]) for task_id, arguments in tasks_of(letter).items()]


@pytest.mark.every_broker(long=True)
def test_tasks_travel_together_and_each_gets_its_own_reply_from_whichever_message(
    installation: Installation,
) -> None:
    vhost, caller = installation.vhost, installation.caller()
    mapping = Mapping(caller, numbered(7), batch=3)
    one, two, alone = vhost.messages("queue_a", 3)
    for letter in (one, two):
        properties, tasks = letter.properties, tasks_of(letter)
        assert properties.type == letter.routing_key == "echo"
        assert properties.message_id == properties.correlation_id
        assert properties.message_id not in tasks
        assert properties.delivery_mode == 2
        assert set(letter.headers) == {"v", "sent_at", "batch", "joined_replies"}
        assert letter.headers["batch"] == len(tasks) == 3
        assert all(map(is_id, (properties.message_id, *tasks)))
    assert "batch" not in alone.headers
    assert alone.value == {"value": 6}
    # In any order, from several messages, one of them with replies to both batches.
    first, second, third = echoes(two)
    answer(vhost, two, together([third]))
    assert mapping.after(1) == [6]
    answer(vhost, one, together([first, *echoes(one)[1:]]))
    assert set(mapping.after(4)) == {6, 4, 2, 3}
    answer(vhost, alone, *echoes(alone))
    answer(vhost, two, second)
    answer(vhost, one, echoes(one)[0], together(echoes(one)))
    assert mapping.results() == {number + 1: number for number in range(7)}
    eventually(lambda: caller.dispatcher.duplicates == 3, "the replies that came twice")
    assert caller.dispatcher.strangers == 0


def test_a_task_that_fails_after_it_left_its_batch_is_the_only_one_that_fails(installation: Installation) -> None:
    vhost, caller = installation.vhost, installation.caller()
    mapping = Mapping(caller, numbered(3), batch=3)
    (letter,) = vhost.messages("queue_a")
    late = list(tasks_of(letter))[1]
    answer(vhost, letter, together([echoes(letter)[0], echoes(letter)[2]]))
    assert sorted(mapping.after(2)) == [1, 3]
    answer(vhost, letter, failure(late, "retries_exhausted"))
    ends = {ended.line: ended.end for ended in mapping.wait()}
    failed = ends[2]
    assert isinstance(failed, Reply)
    assert failed.failure is not None
    assert (failed.id, failed.failure.code) == (late, "retries_exhausted")


def test_a_batch_that_is_refused_as_a_whole_is_the_end_of_each_of_its_tasks(installation: Installation) -> None:
    vhost, caller = installation.vhost, installation.caller()
    mapping = Mapping(caller, numbered(5), batch=4)
    letter, alone = vhost.messages("queue_a", 2)
    answer(vhost, letter, together(echoes(letter)[:1]))
    mapping.after(1)
    answer(vhost, letter, failure(letter.properties.message_id, "undecodable"))
    assert sorted(mapping.after(4)) == [1, 2, 3, 4]
    answer(vhost, alone, *echoes(alone))
    ends = {ended.line: ended for ended in mapping.wait()}
    for line in (2, 3, 4):
        end = ends[line].end
        assert isinstance(end, Reply)
        assert end.failure is not None
        assert (end.failure.code, end.id) == ("undecodable", ends[line].id)
    assert [_result(ends[line]) for line in (1, 5)] == [0, 4]


def test_each_task_of_a_batch_that_nothing_is_bound_for_ends_as_unknown(installation: Installation) -> None:
    ends = Mapping(installation.caller(), [{}] * 5, task="task_c", batch=2).wait()
    assert sorted(ended.line for ended in ends) == [1, 2, 3, 4, 5]
    assert all(isinstance(ended.end, UnknownTask) for ended in ends)


def test_a_batch_that_the_queue_has_no_room_for_is_sent_again_until_it_has(installation: Installation) -> None:
    vhost, caller = installation.vhost, installation.caller()
    limit_length(vhost, "queue_a", 1)
    filling: list[Future[str]] = []

    def is_full() -> bool:
        filling.append(caller.start(caller.dispatcher.submit("echo", {"value": 0})))
        return filling[-1].exception(10) is not None

    eventually(is_full, "the refusal")
    mapping = Mapping(caller, numbered(4), batch=4)
    while "batch" not in (letter := vhost.messages("queue_a")[0]).headers:
        pass
    answer(vhost, letter, together(echoes(letter)))
    assert mapping.results() == {number + 1: number for number in range(4)}


@pytest.mark.every_broker(long=True)
def test_after_a_reconnect_what_is_unanswered_of_a_batch_is_asked_again_under_the_same_ids(
    installation: Installation,
) -> None:
    vhost, caller = installation.vhost, installation.caller()
    mapping = Mapping(caller, numbered(8), batch=4)
    one, two = vhost.messages("queue_a", 2)
    answer(vhost, one, together(echoes(one)[:1]))
    answer(vhost, two, together(echoes(two)[1:]))
    mapping.after(4)
    close_connections(vhost)
    again, alone = vhost.messages("queue_a", 2)
    assert list(tasks_of(again).items()) == list(tasks_of(one).items())[1:]
    assert (again.headers["batch"], again.headers["resent"]) == (3, 1)
    assert again.properties.message_id != one.properties.message_id
    assert list(tasks_of(alone).items()) == list(tasks_of(two).items())[:1]
    assert ("batch" in alone.headers, alone.headers["resent"]) == (False, 1)
    answer(vhost, again, together(echoes(again)))
    answer(vhost, alone, *echoes(alone))
    assert mapping.results() == {number + 1: number for number in range(8)}
    assert (caller.dispatcher.duplicates, caller.dispatcher.strangers) == (0, 0)


def test_each_task_of_a_batch_has_its_own_deadline_and_its_end_makes_room(installation: Installation) -> None:
    vhost, caller = installation.vhost, installation.caller()
    mapping = Mapping(caller, numbered(6), batch=3, window=3, timeout_s=1.0)
    (letter,) = vhost.messages("queue_a")
    answer(vhost, letter, together(echoes(letter)[:2]))
    ends = {ended.line: ended.end for ended in mapping.wait()}
    assert [isinstance(ends[line], Reply) for line in range(1, 7)] == [True, True, False, False, False, False]
    late = [ended for ended in mapping.ends if isinstance(ended.end, NoReply)]
    assert all("the broker has it" in str(ended.end) and ended.id in str(ended.end) for ended in late)


def test_a_batch_is_far_smaller_than_a_body_may_be_and_a_large_task_goes_alone(installation: Installation) -> None:
    vhost, caller = installation.vhost, installation.caller()
    sizes = [100_000, 100_000, 100_000, 900_000, 1, 1]
    mapping = Mapping(caller, [{"value": "x" * size} for size in sizes], batch=100)
    letters = vhost.messages("queue_a", 4)
    # The large ones go by another channel.
    assert sorted(letter.headers.get("batch", 0) for letter in letters) == [0, 0, 2, 2]
    for letter in letters:
        answer(vhost, letter, *echoes(letter))
    assert {line: len(result) for line, result in mapping.results().items()} == dict(enumerate(sizes, 1))


def test_batches_that_workers_would_refuse_are_refused_before_anything_is_sent(installation: Installation) -> None:
    dispatcher = installation.caller().dispatcher
    for batch in (0, -1, 1001):
        with pytest.raises(BadRequest, match="1 to 1000"):
            dispatcher.map("echo", numbered(3), batch=batch)


def test_map_on_the_command_line_takes_the_size_of_batches(installation: Installation) -> None:
    vhost = installation.vhost
    lines = "".join(json.dumps(one) + "\n" for one in numbered(3))
    for size, sizes in (("2", [2, 0]), ("auto", [0, 0, 0])):
        with Running(installation.environment, "dispatcher", "map", "echo", "--batch", size) as mapping:
            mapping.write(lines)
            mapping.end_input()
            eventually(lambda: vhost.exists("queue_a"), "the queue")
            letters = vhost.messages("queue_a", len(sizes))
            assert [letter.headers.get("batch", 0) for letter in letters] == sizes
            for letter in letters:
                answer(vhost, letter, together(echoes(letter)))
            ended = mapping.wait(10)
        assert (ended.code, ended.err) == (0, "")
        assert {one["line"]: one["result"] for one in ended.objects} == {1: 0, 2: 1, 3: 2}


def test_a_blocking_map_in_batches_takes_inputs_that_are_there_together(installation: Installation) -> None:
    vhost, next_input = installation.vhost, threading.Event()
    ends: list[Ended] = []

    def inputs() -> Iterator[dict[str, int]]:
        yield from numbered(6)
        next_input.wait(20)
        yield {"value": 6}

    def mapped() -> None:
        with BlockingDispatcher(installation.settings) as dispatcher:
            ends.extend(dispatcher.map("echo", inputs(), batch=3))

    thread = threading.Thread(target=mapped)
    thread.start()
    eventually(lambda: vhost.exists("queue_a"), "the queue")
    for count in (2, 1):
        for letter in vhost.messages("queue_a", count):
            assert letter.headers.get("batch", 1) == len(tasks_of(letter)) == (3 if count == 2 else 1)
            answer(vhost, letter, together(echoes(letter)))
        next_input.set()
    thread.join(20)
    assert {ended.line: _result(ended) for ended in ends} == {number + 1: number for number in range(7)}
