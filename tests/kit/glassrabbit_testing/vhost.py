"""A virtual host for one test, for whatever speaks AMQP 0-9-1."""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Self

from broker.config.endpoint import Endpoint
from glassrabbit_testing.filler import fill, unfill
from glassrabbit_testing.link import Link
from glassrabbit_testing.management import Management
from glassrabbit_testing.rabbit import Rabbit
from glassrabbit_testing.traffic import Unacked

#: More messages than there ever are.
_MANY = 10**6


class RabbitVhost:
    """A virtual host of its own, made at the first use of ``url``, and removed with all that is in it.

    Its clients connect through a proxy of this process, so that their connections can be cut, and so that it is
    known at once what they hold unacked.
    """

    def __init__(self, rabbit: Rabbit) -> None:
        self.rabbit = rabbit
        self.name = f"test-{secrets.token_hex(4)}"
        self._life = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._life.close()

    @property
    def is_made(self) -> bool:
        return "link" in self.__dict__

    @property
    def url(self) -> str:
        """``amqp://user:password@127.0.0.1:port/name``, for pika, aio-pika, Celery or any other client."""
        return replace(self.endpoint, scheme="amqp", host="127.0.0.1", port=self.link.port).secret_url

    @property
    def unacked(self) -> list[Unacked]:
        """What clients that connected by ``url`` hold now."""
        return self.link.traffic.unacked() if self.is_made else []

    def cut(self) -> None:
        """End all connections, as a network does that fails for a moment."""
        self.link.cut()

    @contextlib.contextmanager
    def unreachable(self) -> Iterator[None]:
        """In the block there is no connection, and none can be opened."""
        self.link.down()
        try:
            yield
        finally:
            self.link.up()

    @contextlib.contextmanager
    def refuse(self, queue: str) -> Iterator[None]:
        """In the block the broker refuses each publish that reaches this queue (``basic.nack``): it is full, of a
        message of ours that is gone afterwards. Nobody may consume it, or it would not stay full."""
        self.policy(queue, {"max-length": 0, "overflow": "reject-publish"})
        self.link.run(fill(self.link, queue))
        try:
            yield
        finally:
            # RabbitMQ 3.10 goes on refusing where a limit is cleared that was reached.
            self.policy(queue, {"max-length": _MANY, "overflow": "reject-publish"})
            self.link.run(unfill(self.link, queue))
            self.management.request("DELETE", "policies", self.name, queue)

    def policy(self, queue: str, definition: Mapping[str, object]) -> None:
        """A policy of RabbitMQ for one queue."""
        body = {"pattern": f"^{re.escape(queue)}$", "definition": definition, "apply-to": "queues"}
        self.management.request("PUT", "policies", self.name, queue, body=body)

    @property
    def management(self) -> Management:
        """RabbitMQ's management API, which knows this virtual host."""
        assert self.link.port, "made with its proxy"
        return self.rabbit.broker.management

    @cached_property
    def endpoint(self) -> Endpoint:
        """The virtual host without the proxy."""
        return replace(self.rabbit.broker.endpoint, vhost=self.name)

    @cached_property
    def link(self) -> Link:
        """The proxy; the virtual host is made with it."""
        management = self.rabbit.broker.management
        management.add_vhost(self.name)
        self.rabbit.made_s = time.monotonic()
        self._life.callback(management.remove_vhost, self.name)
        return self._life.enter_context(Link(self.endpoint, self.rabbit.broker.tls))
