"""How long a broker lets a consumer hold a message, and who decides that."""

from __future__ import annotations

from tests.support.brokers import Broker
from tests.support.vhost import Vhost
from tests.support.waiting import eventually

#: A policy is felt at once, a setting by channels that are opened after it.
_FELT_S = 30.0


def consumers_decide(broker: Broker) -> bool:
    """Whether a consumer's own timeout counts."""
    return tuple(map(int, broker.version.split(".")[:2])) >= (4, 3)


def wait_until_taken_back(vhost: Vhost, queue: str) -> None:
    """Return once a consumer that asks for no time of its own has lost a message of this queue."""
    cancelled: list[object] = []
    with vhost.channel() as channel:
        channel.add_on_cancel_callback(cancelled.append)
        channel.basic_consume(queue, lambda *_: None)

        def is_cancelled() -> bool:
            channel.connection.process_data_events(0.1)
            return bool(cancelled)

        eventually(is_cancelled, f"a message of {queue} to be taken back", _FELT_S)
