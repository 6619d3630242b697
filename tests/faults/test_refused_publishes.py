"""The broker refuses one publish by closing its channel: who sent it hears why at once, and nobody else of it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest

from broker.config import loader as config
from broker.errors import MayNotPublish, NoExchange, TooLarge
from dispatcher.errors import NoReply
from protocol.delay import enter
from protocol.errors import ErrorCode
from protocol.reply import Reply
from tests.support.administrator import close_connections, small_messages
from tests.support.brokers import Broker
from tests.support.caller import Caller
from tests.support.commands import command
from tests.support.installation import Install, Installation
from tests.support.waiting import eventually

#: What the broker takes at most, and results that are larger: sent beside others, and so large that they go alone.
MOST_BYTES = 20_000
BESIDE_BYTES, ALONE_BYTES = 30_000, 100_000
ENDS_WITHIN_S = 2.0
NAP_S = 2.5
#: By the level where each enters the delay line: one that is missing, and one that the user may not write.
MISSING_S, FORBIDDEN_S = 5.0, 100.0
SOME_LEVELS = r"^tasks(\.delay\.0[0-5])?$"
EVERYTHING = ".*"
TASKS = {"nap": {"queue": "queue_a", "handler": "tests.support.handlers:nap"}}


@pytest.fixture
def small(broker: Broker) -> Iterator[None]:
    """A broker that takes no larger messages, on channels that are opened from now on."""
    with small_messages(broker, MOST_BYTES):
        yield


class User:
    """Somebody with few rights."""

    def __init__(self, installation: Installation, write: str) -> None:
        self._vhost = installation.vhost
        self.name = f"user-{secrets.token_hex(4)}"
        self.url = (
            f"amqp://{self.name}:secret@{self._vhost.broker.host}:{self._vhost.broker.port}/{self._vhost.name}"
        )
        self.environment = {**installation.environment, "BROKER_URL": self.url}
        self._vhost.broker.management.add_user(self.name, "secret", self._vhost.name, self._rights(write))

    def may_write(self, write: str) -> None:
        path = ("permissions", self._vhost.name, self.name)
        self._vhost.broker.management.request("PUT", *path, body=self._rights(write))

    def caller(self) -> Caller:
        return Caller(config.load(None, self.environment))

    @staticmethod
    def _rights(write: str) -> dict[str, str]:
        return {"configure": "^$", "write": write, "read": EVERYTHING}


@pytest.fixture
def declared(install: Install) -> Installation:
    installation = install(tasks=TASKS)
    installation.declare()
    return installation


async def refused(call: Awaitable[object]) -> tuple[type[BaseException] | None, float]:
    """What a call ends with, and after how many seconds."""
    began_s = time.monotonic()
    (end,) = await asyncio.gather(call, return_exceptions=True)
    return type(end) if isinstance(end, BaseException) else None, time.monotonic() - began_s


@pytest.mark.every_broker
@pytest.mark.timeout(90)
@pytest.mark.own_broker
@pytest.mark.usefixtures("small")
def test_four_tasks_beside_refused_ones_run_once_each_on_three_workers(
    declared: Installation,
) -> None:
    journal = declared.journal()
    for _ in range(3):
        declared.worker()
    with User(declared, SOME_LEVELS).caller() as caller:
        with declared.vhost.channel() as channel:
            channel.exchange_delete(enter(MISSING_S, "nap").exchange)

        async def at_once() -> list[Any]:
            call = caller.dispatcher.call
            nap = {"journal": str(journal), "seconds": NAP_S}
            return await asyncio.gather(
                call("nap", nap),
                call("nap", nap),
                refused(call("echo", {"value": bytes(ALONE_BYTES)})),
                refused(call("nap", nap, delay_s=MISSING_S)),
                refused(call("nap", nap, delay_s=FORBIDDEN_S)),
                call("nap", nap),
                call("nap", nap),
            )

        ends = caller.run(at_once())
        assert [kind for kind, _took_s in ends[2:5]] == [TooLarge, NoExchange, MayNotPublish]
        assert max(took_s for _kind, took_s in ends[2:5]) < ENDS_WITHIN_S
        assert (caller.dispatcher.generation, caller.dispatcher.duplicates) == (1, 0)
    assert len(journal.ids) == len(set(journal.ids)) == 4


@pytest.mark.every_broker(long=True)
@pytest.mark.timeout(90)
@pytest.mark.own_broker
@pytest.mark.usefixtures("small")
def test_what_was_unconfirmed_beside_a_refused_one_arrives_and_what_was_accepted_is_not_sent_again(
    declared: Installation,
) -> None:
    vhost, journal = declared.vhost, declared.journal()
    caller = declared.caller()
    accepted = [caller.asking("note", {"journal": str(journal)}) for _ in range(5)]
    eventually(lambda: vhost.ready("queue_a") == len(accepted), "the first tasks")

    async def at_once() -> list[Any]:
        call = caller.dispatcher.call
        beside = [call("note", {"journal": str(journal)}) for _ in range(20)]
        return await asyncio.gather(
            *beside[:10], refused(call("echo", {"value": bytes(BESIDE_BYTES)})), *beside[10:]
        )

    asking = caller.start(at_once())
    eventually(lambda: vhost.ready("queue_a") >= len(accepted) + 20, "the tasks beside it")
    declared.worker()
    kind, took_s = asking.result(20)[10]
    assert (kind, took_s < ENDS_WITHIN_S) == (TooLarge, True)
    assert [one.result(10).result for one in accepted] == [1] * len(accepted)
    assert caller.dispatcher.generation == 1
    # One worker knows what it has done: of the ten that were stored before the refused one there are two copies.
    assert Counter(Counter(journal.ids).values()) == {1: 25}


def test_who_may_publish_no_tasks_hears_so_at_once_and_may_still_collect(
    declared: Installation,
) -> None:
    declared.caller().submit("echo", mailbox="box")
    user = User(declared, "^$")
    for words in (["call", "echo"], ["submit", "echo"], ["call", "echo", "--delay", "5"]):
        ended = command(user.environment, "dispatcher", *words)
        assert (ended.code, ended.out) == (69, "")
        assert "this user may not publish to exchange tasks" in ended.err
    assert command(user.environment, "dispatcher", "collect", "box").code == 0
    with user.caller() as caller:
        user.may_write("^tasks$")
        declared.worker()
        # Rights are looked up anew on each channel.
        assert caller.ask("echo", {"value": 1}).result == 1


@pytest.mark.every_broker(long=True)
def test_what_the_broker_has_is_waited_for_although_it_may_not_be_asked_for_again(declared: Installation) -> None:
    vhost, user, journal = declared.vhost, User(declared, EVERYTHING), declared.journal()
    with user.caller() as caller:
        brief, patient = (caller.asking("note", {"journal": str(journal)}, timeout_s=each) for each in (6, 60))
        eventually(lambda: vhost.ready("queue_a") == 2, "both tasks")
        user.may_write("^$")
        close_connections(vhost)
        with pytest.raises(
            NoReply, match=r"the broker has it.*refused: this user may not publish to exchange tasks"
        ):
            brief.result(10)
        assert not patient.done()
        user.may_write(EVERYTHING)
        close_connections(vhost)
        declared.worker()
        assert patient.result(20).result == 1


@pytest.mark.own_broker
@pytest.mark.usefixtures("small")
def test_without_a_way_to_learn_an_address_calls_are_answered_and_a_refused_one_is_found(
    declared: Installation,
) -> None:
    vhost, journal = declared.vhost, declared.journal()
    alternate = {"pattern": "^tasks$", "apply-to": "exchanges", "definition": {"alternate-exchange": "amq.fanout"}}
    vhost.broker.management.request("PUT", "policies", vhost.name, "alternate", body=alternate)
    declared.worker()
    caller = declared.caller()

    async def at_once() -> list[Any]:
        call = caller.dispatcher.call
        notes = [call("note", {"journal": str(journal)}) for _ in range(10)]
        return await asyncio.gather(*notes, refused(call("echo", {"value": bytes(BESIDE_BYTES)})))

    *replies, (kind, _took_s) = caller.run(at_once())
    assert (replies, kind) == ([1] * 10, TooLarge)
    assert len(set(journal.ids)) == 10


@pytest.mark.every_broker(long=True)
@pytest.mark.timeout(90)
@pytest.mark.own_broker
@pytest.mark.usefixtures("small")
def test_a_result_that_the_broker_does_not_take_fails_alone(
    declared: Installation,
) -> None:
    vhost, caller, journal = declared.vhost, declared.caller(), declared.journal()
    workers = [declared.worker(), declared.worker()]
    large = [
        caller.asking("huge", {"size": size, "journal": str(journal)})
        for size in (BESIDE_BYTES, ALONE_BYTES, BESIDE_BYTES)
    ]
    notes = [caller.asking("note", {"journal": str(journal)}) for _ in range(50)]
    replies: list[Reply] = [one.result(15) for one in large]
    assert [one.failure and one.failure.code for one in replies] == [ErrorCode.RESULT_TOO_LARGE] * len(large)
    assert [one.result(15).result for one in notes] == [1] * len(notes)
    letters = vhost.read_dead("queue_a", len(large))
    assert {letter.reason.code for letter in letters} == {ErrorCode.RESULT_TOO_LARGE}
    assert {letter.headers["history"][0]["error"] for letter in letters} == {"TooLarge"}
    assert len(journal.ids) == len(set(journal.ids)) == len(large) + len(notes)
    assert not [line for worker in workers for line in worker.lines("link down") + worker.lines("not ready")]


@pytest.mark.every_broker(long=True)
@pytest.mark.timeout(90)
def test_a_worker_that_may_not_retry_keeps_the_task_and_goes_on_with_all_others(
    declared: Installation,
) -> None:
    vhost, caller, journal = declared.vhost, declared.caller(), declared.journal()
    answers = r"^(replies|amq\.default)$"
    user = User(declared, answers)
    worker = declared.worker(BROKER_URL=user.url)
    failing = [caller.asking("fail", {"times": 1, "journal": str(journal)}) for _ in range(2)]
    worker.wait_for("not accepted, the delivery stays unacked: this user may not publish to exchange tasks.delay.")
    began_s = time.monotonic()
    while time.monotonic() - began_s < 5.0:
        assert caller.ask("note", timeout_s=5).result == 1
    assert not any(one.done() for one in failing)
    assert len(worker.lines("not accepted")) == 1
    worker.wait_for("not ready: the next hop refuses messages: tasks.delay.")
    user.may_write(EVERYTHING)
    assert [one.result(20).result for one in failing] == [2, 2]
    worker.wait_for("no longer waiting for exchange")
    assert len(journal.ids) == 4
    assert not worker.lines("link down")
    assert (vhost.ready("queue_a"), vhost.ready("queue_a.dead")) == (0, 0)
