"""The methods and properties of AMQP 0-9-1 as RabbitMQ speaks it, as data.

Source: https://www.rabbitmq.com/amqp-0-9-1-reference and RabbitMQ's extensions (``confirm``, ``basic.nack``,
``exchange.bind``, ``connection.blocked``, ``connection.update-secret``).
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: octet, short, long, long long, short string, long string, table; a bit shares its octet with its neighbours.
OCTET, SHORT, LONG, LONGLONG, SHORTSTR, LONGSTR, TABLE, BIT = "o", "h", "l", "q", "s", "S", "T", "b"


class Method(NamedTuple):
    """Its name in the specification's words, and its fields in their order on the wire: name and type."""

    name: str
    fields: tuple[tuple[str, str], ...]


def _method(name: str, layout: str = "") -> Method:
    fields = tuple((field.split(":")[0], field.split(":")[1]) for field in layout.split())
    return Method(name, fields)


_CLOSE = "reply_code:h reply_text:s class_id:h method_id:h"
_TUNE = "channel_max:h frame_max:l heartbeat:h"
_BIND = "reserved:h destination:s source:s routing_key:s no_wait:b arguments:T"

#: By class and method number.
METHODS: Final[dict[tuple[int, int], Method]] = {
    (10, 10): _method(
        "connection.start", "version_major:o version_minor:o server_properties:T mechanisms:S locales:S"
    ),
    (10, 11): _method("connection.start-ok", "client_properties:T mechanism:s response:S locale:s"),
    (10, 20): _method("connection.secure", "challenge:S"),
    (10, 21): _method("connection.secure-ok", "response:S"),
    (10, 30): _method("connection.tune", _TUNE),
    (10, 31): _method("connection.tune-ok", _TUNE),
    (10, 40): _method("connection.open", "virtual_host:s reserved:s reserved:b"),
    (10, 41): _method("connection.open-ok", "reserved:s"),
    (10, 50): _method("connection.close", _CLOSE),
    (10, 51): _method("connection.close-ok"),
    (10, 60): _method("connection.blocked", "reason:s"),
    (10, 61): _method("connection.unblocked"),
    (10, 70): _method("connection.update-secret", "new_secret:S reason:s"),
    (10, 71): _method("connection.update-secret-ok"),
    (20, 10): _method("channel.open", "reserved:s"),
    (20, 11): _method("channel.open-ok", "reserved:S"),
    (20, 20): _method("channel.flow", "active:b"),
    (20, 21): _method("channel.flow-ok", "active:b"),
    (20, 40): _method("channel.close", _CLOSE),
    (20, 41): _method("channel.close-ok"),
    (40, 10): _method(
        "exchange.declare",
        "reserved:h exchange:s type:s passive:b durable:b auto_delete:b internal:b no_wait:b arguments:T",
    ),
    (40, 11): _method("exchange.declare-ok"),
    (40, 20): _method("exchange.delete", "reserved:h exchange:s if_unused:b no_wait:b"),
    (40, 21): _method("exchange.delete-ok"),
    (40, 30): _method("exchange.bind", _BIND),
    (40, 31): _method("exchange.bind-ok"),
    (40, 40): _method("exchange.unbind", _BIND),
    (40, 51): _method("exchange.unbind-ok"),
    (50, 10): _method(
        "queue.declare",
        "reserved:h queue:s passive:b durable:b exclusive:b auto_delete:b no_wait:b arguments:T",
    ),
    (50, 11): _method("queue.declare-ok", "queue:s message_count:l consumer_count:l"),
    (50, 20): _method("queue.bind", "reserved:h queue:s exchange:s routing_key:s no_wait:b arguments:T"),
    (50, 21): _method("queue.bind-ok"),
    (50, 30): _method("queue.purge", "reserved:h queue:s no_wait:b"),
    (50, 31): _method("queue.purge-ok", "message_count:l"),
    (50, 40): _method("queue.delete", "reserved:h queue:s if_unused:b if_empty:b no_wait:b"),
    (50, 41): _method("queue.delete-ok", "message_count:l"),
    (50, 50): _method("queue.unbind", "reserved:h queue:s exchange:s routing_key:s arguments:T"),
    (50, 51): _method("queue.unbind-ok"),
    (60, 10): _method("basic.qos", "prefetch_size:l prefetch_count:h global:b"),
    (60, 11): _method("basic.qos-ok"),
    (60, 20): _method(
        "basic.consume",
        "reserved:h queue:s consumer_tag:s no_local:b no_ack:b exclusive:b no_wait:b arguments:T",
    ),
    (60, 21): _method("basic.consume-ok", "consumer_tag:s"),
    (60, 30): _method("basic.cancel", "consumer_tag:s no_wait:b"),
    (60, 31): _method("basic.cancel-ok", "consumer_tag:s"),
    (60, 40): _method("basic.publish", "reserved:h exchange:s routing_key:s mandatory:b immediate:b"),
    (60, 50): _method("basic.return", "reply_code:h reply_text:s exchange:s routing_key:s"),
    (60, 60): _method("basic.deliver", "consumer_tag:s delivery_tag:q redelivered:b exchange:s routing_key:s"),
    (60, 70): _method("basic.get", "reserved:h queue:s no_ack:b"),
    (60, 71): _method("basic.get-ok", "delivery_tag:q redelivered:b exchange:s routing_key:s message_count:l"),
    (60, 72): _method("basic.get-empty", "reserved:s"),
    (60, 80): _method("basic.ack", "delivery_tag:q multiple:b"),
    (60, 90): _method("basic.reject", "delivery_tag:q requeue:b"),
    (60, 100): _method("basic.recover-async", "requeue:b"),
    (60, 110): _method("basic.recover", "requeue:b"),
    (60, 111): _method("basic.recover-ok"),
    (60, 120): _method("basic.nack", "delivery_tag:q multiple:b requeue:b"),
    (85, 10): _method("confirm.select", "no_wait:b"),
    (85, 11): _method("confirm.select-ok"),
    (90, 10): _method("tx.select"),
    (90, 11): _method("tx.select-ok"),
    (90, 20): _method("tx.commit"),
    (90, 21): _method("tx.commit-ok"),
    (90, 30): _method("tx.rollback"),
    (90, 31): _method("tx.rollback-ok"),
}

#: Properties of a message in the order of their flags, from the highest bit.
PROPERTIES: Final[tuple[tuple[str, str], ...]] = (
    ("content_type", SHORTSTR),
    ("content_encoding", SHORTSTR),
    ("headers", TABLE),
    ("delivery_mode", OCTET),
    ("priority", OCTET),
    ("correlation_id", SHORTSTR),
    ("reply_to", SHORTSTR),
    ("expiration", SHORTSTR),
    ("message_id", SHORTSTR),
    ("timestamp", LONGLONG),
    ("type", SHORTSTR),
    ("user_id", SHORTSTR),
    ("app_id", SHORTSTR),
    ("cluster_id", SHORTSTR),
)
