"""What the campaign does to a broker is felt, and undone at its end, on each broker."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator

import pytest
from pika.exceptions import AMQPError

from tests.chaos import conditions
from tests.support.brokers import Broker
from tests.support.vhost import Vhost, vhost_of
from tests.support.waiting import eventually

pytestmark = [pytest.mark.own_broker, pytest.mark.every_broker(long=True), pytest.mark.timeout(120)]

#: More messages than a queue with a limit of 1 takes.
FEW = 5
LARGE_BYTES = 30_000
EXPIRED_S = 5.0


@pytest.fixture
def vhost(broker: Broker) -> Iterator[Vhost]:
    with vhost_of(broker, "conditions") as vhost:
        with vhost.channel() as channel:
            channel.exchange_declare("given", durable=True)
            channel.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
            channel.queue_bind("queue_a", "given", "")
        yield vhost


def is_taken(vhost: Vhost, size: int = 10) -> bool:
    """Whether a message of that size is confirmed, soon."""
    with contextlib.suppress(AMQPError), vhost.connection(blocked_s=1.0) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("given", "", secrets.token_bytes(size), mandatory=True)
        return True
    return False


@pytest.mark.parametrize(
    ("condition", "size"),
    [
        (lambda vhost: conditions.without_right(vhost, "other|giv.n"), 10),
        (lambda vhost: conditions.small_messages(vhost, LARGE_BYTES), LARGE_BYTES + 1),
        (lambda vhost: conditions.policy(vhost, "^queue_a$", conditions.BOUNDED), 10),
        (lambda vhost: conditions.disk_alarm(vhost.broker), 10),
    ],
    ids=["right taken", "small messages", "queue bounded", "disk alarm"],
)
def test_it_keeps_messages_from_being_taken_and_leaves_no_trace(
    vhost: Vhost, condition: Callable[[Vhost], contextlib.AbstractContextManager[None]], size: int
) -> None:
    assert is_taken(vhost, size)
    with condition(vhost):
        eventually(lambda: not is_taken(vhost, size), "a refusal")
    for _ in range(FEW):
        eventually(lambda: is_taken(vhost, size), "a queue that takes messages")


def test_what_waits_is_buried_by_a_policy_of_time_and_what_comes_again_by_one_of_deliveries(vhost: Vhost) -> None:
    with conditions.policy(vhost, "^queue_a$", conditions.SHORT_LIVED):
        assert is_taken(vhost)
        eventually(lambda: not vhost.ready("queue_a"), "its end", EXPIRED_S)
    with conditions.policy(vhost, "^queue_a$", conditions.DELIVERED_ONCE), vhost.channel() as channel:

        def comes_again() -> bool:
            assert is_taken(vhost)
            eventually(lambda: vhost.ready("queue_a"), "the message")
            tag = channel.basic_get("queue_a")[0].delivery_tag
            channel.basic_reject(tag, requeue=True)
            return channel.basic_get("queue_a", auto_ack=True)[0] is not None

        eventually(lambda: not comes_again(), "a burial", EXPIRED_S)
    assert is_taken(vhost)
    eventually(lambda: vhost.ready("queue_a") == 1, "a message that stays")
