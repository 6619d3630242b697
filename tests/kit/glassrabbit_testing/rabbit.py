"""The broker of a session, wherever it comes from."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager
from functools import cached_property
from http.client import HTTPException

from broker.config.endpoint import Endpoint
from broker.config.loader import load
from broker.config.tls import tls_context
from broker.management import Management as ManagementAddress
from glassrabbit_testing.brokers import DEFAULT, Brokers, NotOurs, Wanted, why_not
from glassrabbit_testing.management import Management, ManagementError
from glassrabbit_testing.nodes import IMAGES, LOCAL, Broker

_SETTLED_S = 3.0


class NoRabbit(Exception):
    """There is no broker to test on, and the text says what would be one."""


class GivenBroker(Broker):
    """The broker of ``BROKER_URL``: somebody's, so that only virtual hosts of ours are touched."""

    def __init__(self, url: str) -> None:
        settings = load(None, {**os.environ, "BROKER_URL": url}).broker
        self._endpoint = settings.endpoints[0]
        self.tls = tls_context(settings.tls) if self._endpoint.scheme == "amqps" else None
        self.management = Management.at(ManagementAddress.of(settings))
        try:
            self.version = self.management.version()
        except (OSError, HTTPException, ManagementError) as error:
            what = f"the management API, which makes virtual hosts, cannot be asked at {self.management.url}"
            raise NoRabbit(f"{what} ({type(error).__name__}: {error}): set broker.management_url") from error

    @property
    def endpoint(self) -> Endpoint:
        return self._endpoint


class Rabbit:
    """A RabbitMQ for all tests of a session. Nothing is started before it is used."""

    def __init__(
        self, brokers: Brokers, name: str | None = None, *, alone: bool = False, faults: bool = False
    ) -> None:
        """``brokers`` run until the end of the session. ``name``: a version of ``IMAGES`` or ``local``; None:
        ``BROKER_URL``, else a local ``rabbitmq-server``, else a container. ``alone``: nobody else uses it.
        ``faults``: even if there is a ``BROKER_URL``."""
        self._brokers = brokers
        self._name = name
        self._is_alone = alone
        self._faults = faults
        #: When its latest virtual host was made, by the monotonic clock.
        self.made_s = 0.0

    @cached_property
    def broker(self) -> Broker:
        """Where it runs, and its management API. Raises ``NoRabbit`` if there is none."""
        url = os.environ.get("BROKER_URL")
        if self._name is None and url and not self._is_alone:
            return GivenBroker(url)
        if self._name is None and url and not self._faults:
            raise NoRabbit("this test needs a broker of its own, and BROKER_URL names somebody's: --rabbit-faults")
        name = self._name or found()
        if problem := why_not(name):
            raise NoRabbit(f"{name}: {problem}")
        return self._brokers.get(Wanted(name, self._is_alone))

    def restart(self) -> None:
        """Kill the broker, as a power cut would, and start it again on its data. Returns when it is ready."""
        # RabbitMQ itself may lose a quorum queue that is killed within a second of its declaration.
        time.sleep(max(0.0, self.made_s + _SETTLED_S - time.monotonic()))
        self._own.restart()

    def freeze(self) -> AbstractContextManager[None]:
        """In the block the broker stands still: connections stay, and nobody answers."""
        return self._own.frozen()

    def alarm(self) -> AbstractContextManager[None]:
        """In the block the broker lacks memory, and reads nothing from connections that publish."""
        return self._own.alarm()

    @property
    def _own(self) -> Broker:
        if not self._is_alone:
            raise NotOurs(
                "other tests use this broker: mark the test @pytest.mark.own_rabbit, and it has one alone"
            )
        return self.broker

    @property
    def version(self) -> str:
        """Like ``4.0.5``."""
        return self.broker.version


def found() -> str:
    """The name of what can be had here."""
    for name in (LOCAL, DEFAULT):
        if (problem := why_not(name)) is None:
            return name
    raise NoRabbit(f"set BROKER_URL, install rabbitmq-server or start Docker ({IMAGES[DEFAULT]}: {problem})")
