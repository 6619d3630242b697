"""The dispatcher for code without an event loop: the same results, the same errors, nothing left behind."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from broker.errors import Unreachable
from dispatcher.blocking import BlockingDispatcher
from dispatcher.errors import NoMailbox, NoReply, Overdue, TaskFailed, UnknownTask
from protocol.reply import Reply
from tests.support.brokers import free_port
from tests.support.installation import Install, Installation
from tests.support.workers import ROOT

TIMEOUT_S = 15.0


@pytest.mark.every_broker(long=True)
def test_every_method_works_without_an_event_loop(installation: Installation) -> None:
    installation.worker()
    before = _dispatcher_threads()
    with BlockingDispatcher(installation.settings) as dispatcher:
        assert dispatcher.call("echo", {"value": 1}, timeout_s=TIMEOUT_S) == 1
        assert dispatcher.call("note", delay_s=0.2, expires_s=20) == 1
        whole = dispatcher.ask("reject", {"text": "no"})
        assert whole.failure is not None
        assert (whole.failure.code, whole.failure.text) == ("rejected", "no")
        ends = list(dispatcher.map("echo", ({"value": number} for number in range(20)), window=3))
        assert sorted(end.line for end in ends) == list(range(1, 21))
        assert all(isinstance(end.end, Reply) and end.end.result == end.line - 1 for end in ends)
        ids = {dispatcher.submit("echo", {"value": number}, mailbox="box") for number in range(3)}
        assert {one.id for one in dispatcher.collect("box", count=3, timeout_s=TIMEOUT_S)} == ids
        assert list(dispatcher.collect("box")) == []
    assert _dispatcher_threads() == before


def test_the_errors_are_those_of_the_asynchronous_one(installation: Installation) -> None:
    installation.worker()
    with BlockingDispatcher(installation.settings) as dispatcher:
        with pytest.raises(TaskFailed):
            dispatcher.call("reject")
        with pytest.raises(UnknownTask):
            dispatcher.call("task_c")
        with pytest.raises(NoReply):
            dispatcher.call("task_b", timeout_s=0.3)
        with pytest.raises(NoMailbox):
            list(dispatcher.collect("nobodys"))
        dispatcher.submit("note", mailbox="box")
        with pytest.raises(Overdue):
            list(dispatcher.collect("box", count=2, timeout_s=1.0))
        assert dispatcher.call("echo", {"value": "still here"}) == "still here"


def test_without_a_broker_opening_fails_and_leaves_no_thread(install: Install) -> None:
    settings = install(broker={"connect_timeout_s": 0.5}).settings
    nowhere = settings.broker.model_copy(
        update={
            "endpoints": (settings.broker.endpoints[0].__class__("amqp", "127.0.0.1", free_port(), "u", "p", "/"),)
        }
    )
    before = _dispatcher_threads()
    with pytest.raises(Unreachable), BlockingDispatcher(settings.model_copy(update={"broker": nowhere})):
        pass
    assert _dispatcher_threads() == before


def test_threads_may_share_one_dispatcher(installation: Installation) -> None:
    installation.worker()
    with BlockingDispatcher(installation.settings) as dispatcher, ThreadPoolExecutor(8) as threads:
        values = list(range(80))
        assert list(threads.map(lambda value: dispatcher.call("echo", {"value": value}), values)) == values


def test_a_slow_input_does_not_hold_up_the_results(installation: Installation) -> None:
    installation.worker()
    came = threading.Event()
    waited: list[bool] = []

    def inputs() -> Iterator[dict[str, int]]:
        yield {"value": 1}
        waited.append(came.wait(5))
        yield {"value": 2}

    with BlockingDispatcher(installation.settings) as dispatcher:
        for _ in dispatcher.map("echo", inputs()):
            came.set()
    assert waited == [True]


CALLS_WITHIN_INPUTS = """
from broker.config.loader import load
from dispatcher.blocking import BlockingDispatcher

with BlockingDispatcher(load(None)) as dispatcher:
    inputs = ({"value": dispatcher.call("echo", {"value": value})} for value in (1, 2))
    print(sorted(ended.end.result for ended in dispatcher.map("echo", inputs)))
"""


def test_inputs_may_come_from_calls_of_the_same_dispatcher(installation: Installation) -> None:
    installation.worker()
    # In a process of its own, which can be ended if the two wait for one another.
    ended = subprocess.run(
        [sys.executable, "-c", CALLS_WITHIN_INPUTS],
        cwd=ROOT,
        env=installation.environment,
        capture_output=True,
        timeout=10,
        check=True,
    )
    assert ended.stdout.split() == [b"[1,", b"2]"]


def test_a_map_that_is_left_early_leaves_a_dispatcher_that_works(installation: Installation) -> None:
    installation.worker()
    with BlockingDispatcher(installation.settings) as dispatcher:
        for _ in dispatcher.map("echo", ({"value": value} for value in range(1000)), window=5):
            break
        assert dispatcher.call("echo", {"value": "after"}, timeout_s=TIMEOUT_S) == "after"


def test_a_collection_that_is_left_early_keeps_what_was_not_taken(installation: Installation) -> None:
    installation.worker()
    with BlockingDispatcher(installation.settings) as dispatcher:
        ids = {dispatcher.submit("note", mailbox="box") for _ in range(4)}
        first, *_ = dispatcher.collect("box", count=4, timeout_s=TIMEOUT_S)
        for _ in range(3):
            dispatcher.submit("note", mailbox="box")
        taken = []
        for one in dispatcher.collect("box", count=3, timeout_s=TIMEOUT_S):
            taken.append(one.id)
            if len(taken) == 2:
                break
        left = [one.id for one in dispatcher.collect("box")]
    # The first of the two was acked when the second was asked for; the second was not dealt with.
    assert first.id in ids
    assert len(left) == 2
    assert taken[1] in left
    assert taken[0] not in left


def _dispatcher_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "dispatcher"}
