"""The broker, vhost and installation of the integration tests, and networks to spoil between them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import broker, caller, install, installation, settings, vhost
from tests.support.brokers import Broker
from tests.support.distant import Distant
from tests.support.installation import Install, merged
from tests.support.proxy import Proxy

__all__ = ["broker", "caller", "distant", "install", "installation", "proxies", "settings", "vhost"]

#: Makes a proxy before the broker; each is a network of its own.
Proxies = Callable[[], Proxy]


@pytest.fixture
def proxies(broker: Broker) -> Iterator[Proxies]:
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(Proxy(broker.host, broker.port))


@pytest.fixture
def distant(proxies: Proxies, install: Install) -> Iterator[Callable[..., Distant]]:
    """Makes an installation whose workers and dispatchers each have a network of their own to the broker."""
    tasks = {
        name: {"queue": "queue_a", "handler": f"tests.support.network_handlers:{name}"}
        for name in ("step", "hold_and_fail")
    }
    with contextlib.ExitStack() as stack:

        def make(**changes: Any) -> Distant:
            made = Distant(install(**merged({"tasks": tasks}, changes)), proxies(), proxies())
            stack.callback(made.close)
            return made

        yield make
