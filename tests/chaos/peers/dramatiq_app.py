"""The tasks as Dramatiq's actors, published with confirms."""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import CurrentMessage

from tests.chaos.peers.load import KINDS, MAX_ATTEMPTS, perform

broker = RabbitmqBroker(url=os.environ["BROKER_URL"], confirm_delivery=True)
broker.add_middleware(CurrentMessage())
dramatiq.set_broker(broker)


def _make(kind: str) -> Any:
    def run(**arguments: Any) -> None:
        message = CurrentMessage.get_current_message()
        assert message is not None
        perform(kind, message.message_id, message.options.get("retries", 0) + 1, os.getpid(), arguments)

    return dramatiq.actor(
        run, actor_name=f"chaos.{kind}", max_retries=MAX_ATTEMPTS - 1, min_backoff=500, max_backoff=2000
    )


actors = {f"chaos.{kind}": _make(kind) for kind in KINDS}
