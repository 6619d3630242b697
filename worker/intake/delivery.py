"""One delivery: a message that the broker handed over, and that is settled exactly once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from protocol.properties import ReceivedProperties
from worker.intake.prefetch import Flow


class Channel(Protocol):
    """What a delivery needs of the channel that it came by."""

    @property
    def is_open(self) -> bool:
        """False as soon as nothing can be settled on it any more."""

    def ack(self, tag: int) -> bool:
        """Settle for good; False if the channel has ended."""

    def nack(self, tag: int) -> bool:
        """Give back unharmed; False if the channel has ended."""


@dataclass(slots=True, eq=False, kw_only=True)
class Delivery:
    """Belongs to one channel: after a reconnect its tag means nothing, and settling it does nothing."""

    channel: Channel
    tag: int
    #: The queue that was consumed, which the message itself does not name.
    queue: str
    exchange: str
    routing_key: str
    redelivered: bool
    properties: ReceivedProperties
    body: bytes
    #: What is seen of its queue; and how many looks had been taken when it came.
    flow: Flow = field(default_factory=Flow)
    looks: int = 0
    is_settled: bool = False
    #: Called once, as soon as nothing more is done about it here.
    on_over: Callable[[], None] | None = None

    @property
    def is_live(self) -> bool:
        return not self.is_settled and self.channel.is_open

    @property
    def headers(self) -> dict[str, object]:
        """Its headers as they came; none if they are no table."""
        headers = self.properties.headers
        return headers if isinstance(headers, dict) else {}

    @property
    def returned(self) -> int:
        """How often the broker took it back after a failure. Believed only of what it marks as redelivered: there
        the header is the broker's own."""
        count = self.headers.get("x-delivery-count") if self.redelivered else None
        return count if isinstance(count, int) else 0

    def ack(self) -> bool:
        """Settle for good; False if it was settled before or its channel is gone."""
        return self._settle() and self.channel.ack(self.tag)

    def nack(self) -> bool:
        """Give it back as it was; only for what has not started."""
        return self._settle() and self.channel.nack(self.tag)

    def over(self) -> None:
        """Nothing more is done about it here, whether or not it is settled. Idempotent."""
        if self.on_over is not None:
            on_over, self.on_over = self.on_over, None
            on_over()

    def _settle(self) -> bool:
        if not self.is_live:
            return False
        self.is_settled = True
        self.flow.held -= 1
        return True
