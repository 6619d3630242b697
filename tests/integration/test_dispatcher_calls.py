"""One call: what comes back, and every other way in which it can end."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from broker.errors import ConnectionLost, Refused
from dispatcher.client import Dispatcher
from dispatcher.errors import BadRequest, NoReply, ReplyUnreadable, TaskFailed, UnknownTask
from protocol.codec import NotEncodable
from protocol.errors import ExitCode
from protocol.names import new_id
from tests.support.administrator import limit_length
from tests.support.by_hand import answer, reply
from tests.support.installation import Install, Installation
from tests.support.slowness import in_time
from tests.support.waiting import eventually, run


@pytest.mark.every_broker
def test_a_call_returns_what_the_handler_returned_and_ask_returns_the_whole_reply(
    installation: Installation,
) -> None:
    worker = installation.worker()
    values: list[Any] = [None, 0, -(2**63), 1.5, "ä → 兎", b"\x00\xff", [1, [2, {"three": None}]], {"": []}]

    async def scenario() -> None:
        async with Dispatcher(installation.settings) as dispatcher:
            for value in values:
                assert await dispatcher.call("echo", {"value": value}) == value
            whole = await dispatcher.ask("task_a", {"seconds": 0.2})
            assert (whole.failure, whole.result) == (None, {"slept": 0.2, "attempt": 1})
            assert whole.run.worker.endswith(f":{worker.pid}")
            assert (whole.run.attempts, len(whole.id)) == (1, 32)
            assert 200 <= whole.run.ran_ms < 2000
            assert 0 <= whole.run.queued_ms < 2000
            assert (dispatcher.duplicates, dispatcher.strangers, dispatcher.generation) == (0, 0, 1)

    run(scenario())


def test_a_task_that_fails_raises_from_call_and_is_a_reply_to_ask(installation: Installation) -> None:
    installation.worker()

    async def scenario() -> None:
        async with Dispatcher(installation.settings) as dispatcher:
            with pytest.raises(TaskFailed, match="not mine") as failed:
                await dispatcher.call("reject", {"text": "not mine"})
            assert failed.value.exit_code is ExitCode.FAILED
            assert failed.value.reply.failure is not None
            assert failed.value.reply.failure.code == "rejected"
            whole = await dispatcher.ask("reject", {"text": "not mine"})
            assert whole.failure == failed.value.reply.failure

    run(scenario())


@pytest.mark.every_broker(long=True)
def test_without_a_worker_a_call_ends_at_its_timeout_and_its_late_reply_is_a_duplicate(
    installation: Installation,
) -> None:
    caller = installation.caller()
    started_s = time.monotonic()
    with pytest.raises(NoReply, match="the broker has it") as missing:
        caller.ask("echo", timeout_s=0.6)
    ended_s = time.monotonic() - started_s
    assert ended_s >= 0.6
    assert in_time(ended_s, 1.1)
    assert (missing.value.outcome_known, missing.value.retryable) == (False, True)
    assert missing.value.exit_code is ExitCode.TIMED_OUT
    installation.worker()
    eventually(lambda: caller.dispatcher.duplicates == 1, "the late reply")
    assert caller.dispatcher.strangers == 0
    assert caller.ask("echo", {"value": 2}).result == 2


@pytest.mark.every_broker
def test_a_task_that_no_queue_is_bound_for_is_unknown_and_the_known_ones_are_reported(
    installation: Installation,
) -> None:
    vhost, caller = installation.vhost, installation.caller()
    with vhost.channel() as channel:
        channel.queue_unbind("queue_b", "tasks", "note_b")
    for name in ("task_c", "Not A Name", "note_b"):
        with pytest.raises(UnknownTask, match=r"ask_for_retry, bear_and_hold, .*task_a, task_b") as unknown:
            caller.ask(name)
        assert unknown.value.exit_code is ExitCode.UNROUTABLE
    # The line would take it: what is delayed is checked against the configuration first.
    with pytest.raises(UnknownTask):
        caller.ask("task_c", delay_s=60)
    assert vhost.ready("queue_a") == vhost.ready("queue_b") == 0
    asking = caller.asking("note")
    eventually(lambda: vhost.ready("queue_a") == 1, "the task of the same channel")
    asking.cancel()


@pytest.mark.every_broker
def test_a_full_queue_refuses_and_map_waits_until_there_is_room(installation: Installation) -> None:
    vhost, caller = installation.vhost, installation.caller()
    limit_length(vhost, "queue_a", 2)

    def is_full() -> bool:
        try:
            caller.submit("echo")
        except Refused as refused:
            return refused.retryable and refused.outcome_known
        return False

    eventually(is_full, "the refusal")
    waiting = vhost.ready("queue_a")

    async def mapped() -> list[object]:
        values = ({"value": number} for number in range(3))
        return [ended.end async for ended in caller.dispatcher.map("echo", values)]

    ends = caller.start(mapped())
    installation.worker()
    assert sorted(end.result for end in ends.result(20)) == [0, 1, 2]  # type: ignore[attr-defined]
    assert waiting >= 2
    assert vhost.ready("queue_a.dead") == 0


def test_what_the_broker_could_not_keep_is_refused_before_anything_is_sent(installation: Installation) -> None:
    caller = installation.caller()
    nan = float("nan")
    for options in (
        {"delay_s": -1},
        {"delay_s": 104_858},
        {"delay_s": nan},
        {"expires_s": 0},
        {"expires_s": -1},
        {"expires_s": 3.2e8},
        {"expires_s": nan},
    ):
        with pytest.raises(BadRequest) as refused:
            caller.ask("echo", **options)
        assert (refused.value.exit_code, refused.value.retryable) == (ExitCode.USAGE, False)
    for value in (object(), "x" * 2_000_000, 2**64):
        with pytest.raises(NotEncodable):
            caller.ask("echo", {"value": value})
    assert installation.vhost.ready("queue_a") == 0
    assert caller.dispatcher.generation == 1


@pytest.mark.alone
@pytest.mark.every_broker(long=True)
def test_a_delayed_call_is_never_early_and_hardly_late(installation: Installation) -> None:
    installation.worker()
    caller, delays = installation.caller(), [0.05, 0.3, 1.25, 1.8]
    journals = [installation.journal() for _ in delays]
    caller.ask("note")
    sent_at = time.time()
    asked = [
        caller.asking("note", {"journal": str(journal)}, delay_s=delay_s, expires_s=30)
        for journal, delay_s in zip(journals, delays, strict=True)
    ]
    assert [asking.result(10).result for asking in asked] == [1] * len(delays)
    for journal, delay_s in zip(journals, delays, strict=True):
        # The line counts in tenths of a second, rounded up.
        assert 0 <= journal.entries[0]["at"] - sent_at - delay_s < 0.5


def test_replies_to_concurrent_calls_of_two_dispatchers_are_not_mixed(installation: Installation) -> None:
    installation.worker()

    async def scenario() -> None:
        async with Dispatcher(installation.settings) as one, Dispatcher(installation.settings) as other:
            asked = [(dispatcher, number) for number in range(50) for dispatcher in (one, other)]
            results = await asyncio.gather(
                *(dispatcher.call("echo", {"value": [id(dispatcher), number]}) for dispatcher, number in asked)
            )
            assert results == [[id(dispatcher), number] for dispatcher, number in asked]
            assert (one.duplicates, one.strangers, other.duplicates, other.strangers) == (0, 0, 0, 0)

    run(scenario())


def test_the_first_reply_counts_and_duplicates_and_strangers_are_counted(installation: Installation) -> None:
    caller, vhost = installation.caller(), installation.vhost
    asking = caller.asking("echo")
    (letter,) = vhost.messages("queue_a")
    task_id = letter.properties.message_id
    answer(vhost, letter, reply(new_id(), "a stranger's"), reply(task_id, "first"), reply(task_id, "second"))
    assert asking.result(10).result == "first"
    eventually(lambda: caller.dispatcher.duplicates == 1, "the second reply")
    assert caller.dispatcher.strangers == 1


def test_a_reply_that_breaks_the_protocol_ends_its_own_call_alone(installation: Installation) -> None:
    caller, vhost = installation.caller(), installation.vhost
    broken, whole = caller.asking("echo"), caller.asking("echo")
    letters = vhost.messages("queue_a", 2)
    answer(vhost, letters[0], b"\xc1")
    answer(vhost, letters[1], reply(letters[1].properties.message_id, "fine"))
    with pytest.raises(ReplyUnreadable):
        broken.result(10)
    assert whole.result(10).result == "fine"
    assert caller.dispatcher.generation == 1


def test_a_call_that_its_caller_gave_up_is_forgotten_and_its_reply_a_duplicate(install: Install) -> None:
    installation = install()

    async def scenario() -> None:
        async with Dispatcher(installation.settings) as dispatcher:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(dispatcher.call("echo"), 0.3)
            await asyncio.to_thread(installation.worker)
            assert await dispatcher.call("echo", {"value": 1}) == 1
            assert (dispatcher.duplicates, dispatcher.strangers) == (1, 0)

    run(scenario())


def test_closing_ends_the_calls_that_wait(installation: Installation) -> None:
    async def scenario() -> None:
        async with Dispatcher(installation.settings) as dispatcher:
            calls = [asyncio.create_task(dispatcher.call("echo")) for _ in range(3)]
            await asyncio.sleep(0)
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [ConnectionLost] * 3

    run(scenario())
