"""What a channel hands over, with types: pika's own objects have these fields and none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from protocol.properties import ReceivedProperties


class Delivered(Protocol):
    """What the broker says of a message that it delivers."""

    delivery_tag: int
    exchange: str
    routing_key: str
    redelivered: bool


class Got(Delivered, Protocol):
    """What it says of one that was fetched; ``message_count``: those that are ready behind it."""

    message_count: int


class Returned(Protocol):
    """What it says of one that no queue is bound for."""

    exchange: str
    routing_key: str


OnDelivery = Callable[[Delivered, ReceivedProperties, bytes], None]
OnReturn = Callable[[Returned, ReceivedProperties], None]
#: Tag, whether all before it are meant as well, and whether they were refused.
OnConfirm = Callable[[int, bool, bool], None]
