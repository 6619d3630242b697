"""A connection that is given up while it is being made leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

import pytest

from broker.amqp.connection import connect
from broker.config.endpoint import parse_endpoint
from tests.support.waiting import eventually, run

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"


def sockets() -> set[str]:
    """Of this process."""
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            continue
    return {one for one in found if one.startswith("socket")}


def give_up(url: str, under_way: Callable[[], object]) -> None:
    """Begin to connect, and cancel that as soon as it is so far; nothing runs after it."""

    async def test() -> None:
        task = asyncio.create_task(connect(parse_endpoint(url), name="test", heartbeat_s=30, timeout_s=20))
        await asyncio.to_thread(eventually, under_way, "the attempt")
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()

    run(test())


def test_while_the_network_is_silent() -> None:
    """A listener whose queue is full answers nobody."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            before = sockets()
            give_up(f"amqp://127.0.0.1:{port}/", lambda: len(sockets() - before) >= 2)
            assert sockets() == before


@pytest.mark.parametrize("scheme", ["amqp", "amqps"])
def test_while_the_broker_says_nothing(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        said: list[bytes] = []
        clients: list[socket.socket] = []
        before = sockets()

        def hears() -> bool:
            clients.append(listener.accept()[0])
            said.append(clients[0].recv(len(PROTOCOL_HEADER)))
            return True

        give_up(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/", hears)
        with clients[0] as client:
            assert (said[0] == PROTOCOL_HEADER) is (scheme == "amqp")
            client.settimeout(5)
            while client.recv(4096):
                pass
        assert sockets() == before
