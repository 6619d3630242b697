"""Everybody may start at once on an empty broker."""

from __future__ import annotations

import asyncio

import pytest

from broker.amqp.connection import connect
from broker.topology.declare import declare
from broker.topology.model import topology_of
from dispatcher.client import Dispatcher
from tests.support.installation import Installation
from tests.support.waiting import run


@pytest.mark.parametrize("later_s", [0.0, 0.02, 0.05, 0.1])
def test_a_dispatcher_that_starts_while_a_worker_declares_does_not_take_half_a_topology_for_the_whole(
    installation: Installation, later_s: float
) -> None:
    settings = installation.settings

    async def both() -> str:
        connection = await connect(settings.broker.endpoints[0], name="declares", heartbeat_s=30, timeout_s=5)
        declaring = asyncio.create_task(declare(connection, topology_of(settings)))
        await asyncio.sleep(later_s)
        async with Dispatcher(settings) as dispatcher:
            task_id = await dispatcher.submit("task_a")
        await declaring
        await connection.close()
        return task_id

    assert run(both())
    assert installation.vhost.messages("queue_a")
