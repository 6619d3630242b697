"""One delivery: a message that the broker handed over, and that is settled exactly once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from broker.amqp.channel import Channel


@dataclass(slots=True, eq=False, kw_only=True)
class Delivery:
    """Belongs to one channel: after a reconnect its tag means nothing, and settling it does nothing."""

    channel: Channel
    tag: int
    #: The queue that was consumed, which the message itself does not tell.
    queue: str
    exchange: str
    routing_key: str
    redelivered: bool
    properties: Any
    body: bytes
    is_settled: bool = False

    @property
    def is_live(self) -> bool:
        return not self.is_settled and self.channel.is_open

    @property
    def returned(self) -> int:
        """How often the broker took it back after a failure. Believed only of what it marks as redelivered: there
        the header is the broker's own."""
        headers = self.properties.headers
        count = headers.get("x-delivery-count") if self.redelivered and isinstance(headers, dict) else None
        return count if isinstance(count, int) else 0

    def ack(self) -> bool:
        """Settle for good; False if it was settled before or its channel is gone."""
        return self._settle() and self.channel.ack(self.tag)

    def nack(self) -> bool:
        """Give it back as it was; only for what has not started."""
        return self._settle() and self.channel.nack(self.tag)

    def _settle(self) -> bool:
        if not self.is_live:
            return False
        self.is_settled = True
        return True
