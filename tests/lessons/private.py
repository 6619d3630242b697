"""A lesson on a broker of its own, for commands."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.lessons.kit import Claim, Lesson, lesson_on
from tests.support.brokers import DEFAULT, IMAGES, LOCAL, Brokers, Wanted, why_not
from tests.support.vhost import vhost_of

NAMES = [*IMAGES, LOCAL]


@contextmanager
def private_lesson(name: str | None, listen: Callable[[Claim], None]) -> Iterator[Lesson]:
    """On a broker of this name; by default the rabbitmq-server of this machine, else a container. Where there is
    no such broker, the process ends with 69."""
    name = name or next((one for one in (LOCAL, DEFAULT) if why_not(one) is None), DEFAULT)
    if problem := why_not(name):
        print(f"there is no broker {name}: {problem}", file=sys.stderr)
        sys.exit(69)
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    print("\nstarting a broker …", file=sys.stderr)
    with ExitStack() as stack:
        brokers = Brokers()
        stack.callback(brokers.stop)
        vhost = stack.enter_context(vhost_of(brokers.get(Wanted(name, alone=True)), "lesson"))
        with lesson_on(vhost, listen) as lesson:
            print(f"on RabbitMQ {lesson.version}")
            yield lesson
