"""A dispatcher whose connection does not last, or that is closed in the middle: each call ends, and in order."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import pytest

from broker.amqp.connection import connect
from broker.amqp.publisher import Message, Publisher
from broker.config import loader as config
from broker.errors import ConfirmLost, ConnectionLost, NoExchange
from dispatcher.client import Dispatcher
from dispatcher.errors import NotOpen
from protocol.properties import Properties
from tests.faults.conftest import Proxies
from tests.support.caller import Caller
from tests.support.installation import Installation
from tests.support.waiting import eventually, run

ENDING_S, POLL_S = 5.0, 0.01
#: In so much time. Without a wait that grows there were seven in a second.
MOST_CONNECTIONS = 15
WINDOW, INPUTS = 20, 100


def test_a_dispatcher_whose_connections_end_at_once_connects_ever_more_slowly_and_comes_back(
    installation: Installation, proxies: Proxies
) -> None:
    installation.worker()
    vhost, proxy = installation.vhost, proxies()
    url = vhost.url.replace(f":{vhost.broker.port}/", f":{proxy.port}/")
    with Caller(config.load(None, {**installation.environment, "BROKER_URL": url})) as caller:
        dispatcher, began_s, ended = caller.dispatcher, time.monotonic(), 0
        while time.monotonic() - began_s < ENDING_S:
            if dispatcher.generation > ended:
                ended = dispatcher.generation
                proxy.reset()
            time.sleep(POLL_S)
        print(f"{ended} connections in {ENDING_S:g} s")
        assert 1 < ended <= MOST_CONNECTIONS
        assert caller.ask("note", timeout_s=20).result == 1


def test_a_dispatcher_whose_exchange_is_gone_says_so_at_once_and_comes_back(installation: Installation) -> None:
    installation.worker()
    vhost, caller = installation.vhost, installation.caller()
    for is_known in (False, True):
        with vhost.channel() as channel:
            channel.exchange_delete("tasks")
        began_s = time.monotonic()
        asking = [caller.asking("note", timeout_s=30) for _ in range(10)]
        for one in asking:
            with pytest.raises(NoExchange, match="exchange tasks does not exist"):
                one.result(10)
        assert time.monotonic() - began_s < 2, f"the reply address was known: {is_known}"
        installation.declare()
        assert caller.ask("note", timeout_s=20).result == 1
    assert caller.dispatcher.generation == 1


def test_a_map_whose_dispatcher_is_closed_ends_every_input(installation: Installation) -> None:
    """Those that were under way, and those that are only read afterwards."""
    installation.declare()
    vhost = installation.vhost

    async def test() -> list[object]:
        async with Dispatcher(installation.settings) as dispatcher:
            mapping = dispatcher.map("note", ({} for _ in range(INPUTS)), window=WINDOW)
            first = asyncio.ensure_future(anext(mapping))
            await asyncio.to_thread(eventually, lambda: vhost.ready("queue_a") == WINDOW, "the tasks")
        return [(await first).end, *[ended.end async for ended in mapping]]

    ends = run(test())
    assert len(ends) == INPUTS
    assert {type(end) for end in ends} == {ConnectionLost, NotOpen}


def test_nobody_has_to_ask_what_became_of_a_publish_on_a_channel_that_has_ended(
    installation: Installation,
) -> None:
    """A dispatcher may be closed, and its loop with it, before anyone has looked: asyncio complains of a failure
    that nobody saw."""
    complaints: list[dict[str, Any]] = []
    message = Message(exchange="tasks", routing_key="note", body=b"", properties=Properties(headers={}))

    async def test() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        endpoint = installation.settings.broker.endpoints[0]
        connection = await connect(endpoint, name="test", heartbeat_s=30, timeout_s=10)
        publisher = await Publisher.open(connection)
        await connection.close()
        with pytest.raises(ConfirmLost):
            await publisher.publish(message)
        publisher.publish(message)
        gc.collect()

    run(test())
    assert complaints == []
