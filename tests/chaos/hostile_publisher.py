"""Publishes what nobody may ever run, with confirms, and writes down what it is told of each.

python -m tests.chaos.hostile_publisher --seed S --seconds N --rate R

Each message is sent once: one that is lost with its connection is unknown. Exits with 0 after N seconds or on
SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, NackError, UnroutableError

from broker.config.endpoint import Endpoint
from broker.config.loader import load
from broker.config.settings import Settings
from protocol.names import TASKS
from tests.chaos import attacks, process
from tests.chaos.attacks import Attack, Victim
from tests.chaos.records import Asked, Ledger, Told, digest, now

NAME = "hostile"
HANDLERS = "tests.chaos.handlers:"
#: Each thing that a connection waits for, confirms under an alarm included, ends within about so long.
PATIENCE_S = 15.0
#: Between attempts to connect.
PAUSE_S = 0.5
#: How pika says that a connection is lost or cannot be made: a timeout while connecting is no AMQPError, and a
#: socket that was reset before it was looked at is a ValueError.
LOST = (AMQPError, AMQPConnectorException, ValueError)


class Publisher:
    """Publishes one at a time on a connection that it makes anew when it has to."""

    def __init__(self, endpoint: Endpoint, ledger: Ledger) -> None:
        self._endpoint = endpoint
        self._ledger = ledger
        self._channel: BlockingChannel | None = None

    def connect(self) -> bool:
        """Whether there is a channel in confirm mode."""
        if self._channel is not None and self._channel.is_open:
            return True
        self.close()
        try:
            self._channel = pika.BlockingConnection(parameters(self._endpoint)).channel()
            self._channel.confirm_delivery()
        except LOST:
            self._channel = None
        return self._channel is not None

    def publish(self, attack: Attack) -> None:
        """Needs a channel."""
        assert self._channel is not None
        key = digest(attack.body)
        self._ledger.write(
            Asked(key=key, kind="hostile", requester=NAME, mode="nobody", within_s=2 * PATIENCE_S, digest=key)
        )
        told = Told(key=key, id="", answer="accepted", text=attack.name)
        try:
            self._channel.basic_publish(TASKS, attack.routing_key, attack.body, attack.properties, mandatory=True)
        except UnroutableError:
            told = Told(key=key, id="", answer="returned", text=attack.name)
        except NackError:
            told = Told(key=key, id="", answer="refused", text=attack.name)
        except LOST as error:
            told = Told(key=key, id="", answer="unknown", text=f"{attack.name}: {error!r}")
        self._ledger.write(told)

    def wait(self, seconds: float) -> None:
        """Let time pass; heartbeats go on."""
        try:
            if self._channel is not None and self._channel.is_open:
                self._channel.connection.sleep(seconds)
                return
        except LOST:
            self._channel = None
        time.sleep(seconds)

    def close(self) -> None:
        if self._channel is not None and self._channel.connection.is_open:
            # Nobody may answer.
            with contextlib.suppress(*LOST):
                self._channel.connection.close()


def parameters(endpoint: Endpoint) -> pika.ConnectionParameters:
    return pika.ConnectionParameters(
        host=endpoint.host,
        port=endpoint.port,
        virtual_host=endpoint.vhost,
        credentials=pika.PlainCredentials(endpoint.username, endpoint.password),
        heartbeat=int(PATIENCE_S / 2),
        blocked_connection_timeout=PATIENCE_S,
        socket_timeout=5,
        stack_timeout=PATIENCE_S,
        client_properties={"connection_name": NAME},
    )


def victims(settings: Settings) -> list[Victim]:
    """Every task of the campaign with every one that belongs to another queue."""
    queues = {name: task.queue for name, task in settings.tasks.items() if task.handler.startswith(HANDLERS)}
    return [
        Victim(task=task, queue=queue, other_task=other, other_queue=queues[other])
        for task, queue in queues.items()
        for other in queues
        if queues[other] != queue
    ]


def stream(chance: random.Random, victims: Sequence[Victim]) -> Iterator[Attack]:
    """All attacks in any order, then all again. Their order comes from the seed; their bodies never repeat."""
    while True:
        for name in attacks.names(chance):
            yield attacks.attack(name, chance.choice(victims), os.urandom(12))


def main(seed: int, seconds: float, rate: float) -> None:
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    settings = load(None)
    publisher = Publisher(settings.broker.endpoints[0], process.ledger(NAME))
    until = now() + seconds
    for attack in stream(random.Random(seed), victims(settings)):
        while not publisher.connect() and not told and now() < until:
            publisher.wait(PAUSE_S)
        if told or now() >= until:
            break
        publisher.publish(attack)
        publisher.wait(1 / rate)
    publisher.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.hostile_publisher")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float, required=True, help="messages a second")
    options = parser.parse_args()
    main(options.seed, options.seconds, options.rate)
