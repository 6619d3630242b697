"""A queue that is full: one message of ours stands in it, and a policy lets no other in."""

from __future__ import annotations

from broker.amqp.publisher import Message, Publisher
from broker.dead_letters.queue import Letter, held
from broker.errors import Refused
from glassrabbit_testing.link import Link
from protocol.properties import Properties

_FILLER = "glassrabbit_testing.filler"
#: A quorum queue takes one message more than it may have, and then tells its publishers.
_MOST = 100


async def fill(link: Link, queue: str) -> None:
    """Publish until the queue refuses. Raises ``AssertionError`` if somebody consumes it, or it never does."""
    async with link.connected() as connection:
        publisher = await Publisher.open(connection)
        _, consumers = await publisher.channel.inspect_queue(queue)
        assert not consumers, f"{queue} does not stay full while {consumers} consume it: stop them first"
        filler = Message(exchange="", routing_key=queue, body=b"", properties=Properties(type=_FILLER))
        for _ in range(_MOST):
            try:
                await publisher.publish(filler)
            except Refused:
                return
        raise AssertionError(f"{queue} takes messages all the same: another policy is above that of this test")


async def unfill(link: Link, queue: str) -> None:
    """Take the messages of ``fill`` out of the queue. All others keep their order."""
    tags: list[int] = []

    def see(letter: Letter) -> None:
        if letter.properties.type == _FILLER:
            tags.append(letter.tag)

    async with link.connected() as connection, held(connection, queue, see) as looked:
        for tag in tags:
            looked.ack(tag)
