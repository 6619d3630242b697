"""The brokers of the tests, which are those of the kit (``glassrabbit_testing``)."""

from __future__ import annotations

from glassrabbit_testing.brokers import (
    DEFAULT,
    IMAGES,
    LOCAL,
    Broker,
    Brokers,
    ContainerBroker,
    LocalBroker,
    OwnBroker,
    SharedBroker,
    Wanted,
    engine_answers,
    free_port,
    new_broker,
    why_not,
)

__all__ = [
    "DEFAULT",
    "IMAGES",
    "LOCAL",
    "Broker",
    "Brokers",
    "ContainerBroker",
    "LocalBroker",
    "OwnBroker",
    "SharedBroker",
    "Wanted",
    "engine_answers",
    "free_port",
    "new_broker",
    "why_not",
]
