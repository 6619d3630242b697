"""Where a lesson runs: on a vhost of a broker, or of a cluster; for commands on one of its own."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.lessons.kit import Claim, Lesson, lesson_on
from tests.support.brokers import DEFAULT, IMAGES, LOCAL, Broker, Brokers, Wanted, why_not
from tests.support.spread import running
from tests.support.vhost import Vhost, vhost_of

NAMES = [*IMAGES, LOCAL]


@contextmanager
def vhost_for(nodes: int, name: str, broker: Callable[[], Broker], what: str) -> Iterator[Vhost]:
    """A new vhost of a broker, or of a cluster of that version where more than one node is needed."""
    with ExitStack() as stack:
        place = stack.enter_context(running(name)) if nodes > 1 else broker()
        yield stack.enter_context(vhost_of(place, what))


@contextmanager
def private_lesson(name: str | None, listen: Callable[[Claim], None], nodes: int = 1) -> Iterator[Lesson]:
    """On a broker of this name; by default the rabbitmq-server of this machine, else a container. Where there is
    no such broker, the process ends with 69."""
    usual = (LOCAL, DEFAULT) if nodes == 1 else (DEFAULT,)
    name = name or next((one for one in usual if why_not(one) is None), DEFAULT)
    if problem := why_not(name):
        print(f"there is no broker {name}: {problem}", file=sys.stderr)
        sys.exit(69)
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    print("\nstarting a broker …", file=sys.stderr)
    with ExitStack() as stack:
        brokers = Brokers()
        stack.callback(brokers.stop)
        own = Wanted(name, alone=True)
        vhost = stack.enter_context(vhost_for(nodes, name, lambda: brokers.get(own), "lesson"))
        with lesson_on(vhost, listen) as lesson:
            print(f"on RabbitMQ {lesson.version}")
            yield lesson
