"""Our properties as pika's, to compare what we write with what pika would."""

from __future__ import annotations

import pika

from protocol.properties import Properties


def to_pika(properties: Properties) -> pika.BasicProperties:
    """Our properties as pika's, persistent."""
    return pika.BasicProperties(
        type=properties.type,
        message_id=properties.message_id,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        timestamp=properties.timestamp,
        expiration=properties.expiration,
        content_type=properties.content_type,
        app_id=properties.app_id,
        headers=properties.headers or None,
        delivery_mode=2,
    )
