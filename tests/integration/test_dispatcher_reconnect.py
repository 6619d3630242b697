"""The dispatcher's connection ends while calls wait: all are answered, each once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from broker.config import loader as config
from broker.config.settings import Settings
from dispatcher.client import Dispatcher
from protocol.reply import Reply
from tests.support.administrator import close_connections
from tests.support.by_hand import answer, reply
from tests.support.caller import Caller
from tests.support.installation import Install, Installation
from tests.support.proxy import Proxy
from tests.support.vhost import Vhost
from tests.support.waiting import eventually, run

PENDING = 200


@pytest.fixture
def proxy(vhost: Vhost) -> Iterator[Proxy]:
    """A way to the broker that can be cut."""
    with Proxy(vhost.broker.host, vhost.broker.port) as proxy:
        yield proxy


def through(proxy: Proxy, installation: Installation) -> Settings:
    """The configuration of an installation, with the proxy as its broker."""
    vhost = installation.vhost
    url = vhost.url.replace(f":{vhost.broker.port}/", f":{proxy.port}/")
    return config.load(None, {**installation.environment, "BROKER_URL": url})


@pytest.mark.every_broker(long=True)
def test_200_pending_calls_are_asked_again_and_answered_once_after_an_administrator_closed_the_connection(
    installation: Installation,
) -> None:
    vhost, caller, journal = installation.vhost, installation.caller(), installation.journal()
    asked = [caller.asking("note", {"journal": str(journal), "number": one}) for one in range(PENDING)]
    eventually(lambda: vhost.ready("queue_a") == PENDING, "the tasks")
    close_connections(vhost)
    eventually(lambda: vhost.ready("queue_a") == 2 * PENDING, "the tasks once more")
    assert caller.dispatcher.generation == 2
    installation.worker()
    replies = [asking.result(30) for asking in asked]
    assert len({one.id for one in replies}) == PENDING
    assert [one.result for one in replies] == [1] * PENDING
    # The first copies carry an address that is gone, and the worker's ledger knows the second ones.
    assert Counter(entry["number"] for entry in journal.entries) == Counter(range(PENDING))
    assert (caller.dispatcher.duplicates, caller.dispatcher.strangers) == (0, 0)


def test_what_is_asked_again_has_the_same_id_and_body_and_says_how_often_it_was_sent(
    installation: Installation,
) -> None:
    vhost, caller = installation.vhost, installation.caller()
    asking = caller.asking("echo", {"value": 1})
    (first,) = vhost.messages("queue_a")
    close_connections(vhost)
    (second,) = vhost.messages("queue_a")
    assert second.properties.message_id == first.properties.message_id
    assert (second.body, second.headers["sent_at"]) == (first.body, first.headers["sent_at"])
    assert (first.headers.get("resent", 0), second.headers["resent"]) == (0, 1)
    assert second.properties.reply_to != first.properties.reply_to
    answer(vhost, first, reply(first.properties.message_id, "nobody hears this"))
    answer(vhost, second, reply(first.properties.message_id, "heard"))
    assert asking.result(10).result == "heard"


@pytest.mark.every_broker(long=True)
def test_with_a_mailbox_only_what_was_never_confirmed_is_sent_again(
    installation: Installation, proxy: Proxy
) -> None:
    vhost = installation.vhost
    with Caller(through(proxy, installation)) as caller:
        confirmed = {caller.submit("echo", mailbox="box") for _ in range(5)}
        proxy.lose_answers()
        submitting = [caller.start(caller.dispatcher.submit("echo")) for _ in range(5)]
        eventually(lambda: vhost.ready("queue_a") == 10, "the tasks whose confirms get lost")
        assert not any(one.done() for one in submitting)
        proxy.cut()
        unconfirmed = {one.result(15) for one in submitting}
        assert caller.dispatcher.generation == 2
    letters = vhost.messages("queue_a", 15)
    copies = Counter(letter.properties.message_id for letter in letters)
    assert copies == Counter(dict.fromkeys(confirmed, 1) | dict.fromkeys(unconfirmed, 2))
    resent = [letter.properties.message_id for letter in letters if letter.headers.get("resent") == 1]
    assert sorted(resent) == sorted(unconfirmed)
    assert vhost.ready("queue_a") == 0


def test_a_delayed_call_is_asked_again_for_what_is_left_of_its_delay(
    installation: Installation, proxy: Proxy
) -> None:
    installation.worker()
    journal = installation.journal()
    with Caller(through(proxy, installation)) as caller:
        sent_at = time.time()
        asking = caller.asking("note", {"journal": str(journal)}, delay_s=3.0)
        eventually(lambda: time.time() > sent_at + 1, "a third of the delay")
        proxy.cut()
        assert asking.result(15).result == 1
        assert 3.0 <= time.time() - sent_at < 4.0
    assert journal.entries[0]["at"] - sent_at >= 3.0


def test_calls_submits_and_maps_wait_for_a_connection_that_is_being_made_again(
    installation: Installation, proxy: Proxy
) -> None:
    installation.worker()

    async def scenario() -> None:
        async with Dispatcher(through(proxy, installation)) as dispatcher:

            async def mapped() -> list[object]:
                inputs = ({"value": value} for value in range(5))
                return [one.end async for one in dispatcher.map("echo", inputs)]

            proxy.cut()
            calls = asyncio.gather(*(dispatcher.call("echo", {"value": value}) for value in range(5)))
            maps = asyncio.create_task(mapped())
            assert len(await dispatcher.submit("echo")) == 32
            assert await calls == list(range(5))
            assert all(isinstance(end, Reply) and end.failure is None for end in await maps)
            assert dispatcher.generation == 2

    run(scenario())


def test_a_submit_to_a_mailbox_waits_for_a_connection_that_is_being_made_again(
    installation: Installation, proxy: Proxy
) -> None:
    async def scenario() -> None:
        async with Dispatcher(through(proxy, installation)) as dispatcher:
            await dispatcher.submit("echo", mailbox="box")
            proxy.cut()
            assert len(await dispatcher.submit("echo", mailbox="box")) == 32

    run(scenario())
    assert installation.vhost.ready("queue_a") == 2


def test_a_connection_that_falls_silent_is_given_up_by_its_heartbeats(install: Install, proxy: Proxy) -> None:
    installation = install(broker={"heartbeat_s": 1})
    vhost = installation.vhost
    with Caller(through(proxy, installation)) as caller:
        asking = caller.asking("echo", {"value": 1})
        eventually(lambda: vhost.ready("queue_a") == 1, "the task")
        proxy.lose_answers()
        # pika looks every heartbeat + 5 s, and gives up at the second look.
        eventually(lambda: proxy.accepted == 2, "another connection", 20)
        proxy.cut()
        installation.worker()
        assert asking.result(15).result == 1


@pytest.mark.own_broker
def test_pending_calls_outlive_a_broker_that_is_killed_and_restarted(installation: Installation) -> None:
    vhost, caller = installation.vhost, installation.caller()
    installation.worker("queue_b")
    asked = [caller.asking("echo", {"value": one}) for one in range(50)]
    eventually(lambda: vhost.ready("queue_a") == 50, "the tasks")
    vhost.broker.kill()
    # A call that is made while nobody is there waits, too.
    asked.append(caller.asking("echo", {"value": 50}))
    vhost.broker.restart()
    installation.worker()
    assert [asking.result(40).result for asking in asked] == list(range(51))
    assert caller.dispatcher.strangers == 0
    assert vhost.ready("queue_a.dead") == 0
