"""Frames that we write often, byte for byte as pika writes them. Pure; knows nothing of pika.

What is the same from one message to the next (the method of a publish, a task's name, the keys of its headers)
is encoded once and kept, in tables of a fixed size.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from broker.amqp.decoding import ACK, BASIC, BODY, CONTENT_HEAD, FRAME_HEAD, HEADER, METHOD
from broker.errors import TooLarge, Unsendable
from protocol.properties import Properties

#: How many texts are kept: a peer that picks its own cannot fill memory.
_KEPT = 512
#: Fields with numbers up to this are kept as well: the same few come again and again.
_SMALL = 15
_LENGTHS = tuple(bytes((length,)) for length in range(256))
_FRAME_END = b"\xce"
_ACK = struct.Struct(">BHL4sQBB")
_LONG, _LONG_LONG, _TIMESTAMP = struct.Struct(">ci"), struct.Struct(">cq"), struct.Struct(">Q")
_TEXT_HEAD, _SIZE = struct.Struct(">cL"), struct.Struct(">L")
_PERSISTENT = b"\x02"
_PUBLISH_METHOD = b"\x00\x3c\x00\x28\x00\x00"


def publish_frames(
    channel: int,
    exchange: str,
    routing_key: str,
    body: bytes,
    properties: Properties,
    *,
    mandatory: bool,
    longest: int,
) -> list[bytes]:
    """The frames of a persistent message, which hold at most ``longest`` bytes each.

    Raises ``Unsendable`` or ``TooLarge`` for what does not fit: the broker would close the connection over it.
    """
    size = len(body)
    try:
        method = _publish_method(channel, exchange, routing_key, mandatory)
        flags, values = _properties(properties)
    except (UnicodeError, struct.error) as error:
        raise Unsendable(f"a property that AMQP cannot carry ({type(error).__name__})") from error
    length = CONTENT_HEAD.size - FRAME_HEAD.size + len(values)
    if length > longest:
        raise TooLarge(f"properties of {length} bytes do not fit a frame of {longest}")
    frames = [method, CONTENT_HEAD.pack(HEADER, channel, length, BASIC, 0, size, flags) + values + _FRAME_END]
    if 0 < size <= longest:
        frames.append(FRAME_HEAD.pack(BODY, channel, size) + body + _FRAME_END)
    elif size:
        for start in range(0, size, longest):
            part = body[start : start + longest]
            frames.append(FRAME_HEAD.pack(BODY, channel, len(part)) + part + _FRAME_END)
    return frames


def ack_frames(channel: int, up_to: int, singles: Iterable[int]) -> list[bytes]:
    """Acks of all that is outstanding up to a tag (0: of nothing), and of single tags beyond it."""
    frames = [_ACK.pack(METHOD, channel, 13, ACK, up_to, 1, 0xCE)] if up_to else []
    frames += [_ACK.pack(METHOD, channel, 13, ACK, tag, 0, 0xCE) for tag in singles]
    return frames


@lru_cache(maxsize=1024)
def _publish_method(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:
    payload = b"".join((_PUBLISH_METHOD, _short(exchange), _short(routing_key), bytes((mandatory,))))
    return FRAME_HEAD.pack(METHOD, channel, len(payload)) + payload + _FRAME_END


def _properties(properties: Properties) -> tuple[int, bytes]:
    """Flags and values, in the order that AMQP gives them."""
    flags, values = 1 << 15 | 1 << 12, [_kept_short(properties.content_type)]
    if properties.headers:
        flags |= 1 << 13
        values.append(_table(properties.headers))
    values.append(_PERSISTENT)
    if properties.correlation_id is not None:
        flags |= 1 << 10
        values.append(_short(properties.correlation_id))
    if properties.reply_to is not None:
        flags |= 1 << 9
        values.append(_kept_short(properties.reply_to))
    if properties.expiration is not None:
        flags |= 1 << 8
        values.append(_short(properties.expiration))
    if properties.message_id is not None:
        flags |= 1 << 7
        values.append(_short(properties.message_id))
    if properties.timestamp is not None:
        flags |= 1 << 6
        values.append(_TIMESTAMP.pack(properties.timestamp))
    if properties.type is not None:
        flags |= 1 << 5
        values.append(_kept_short(properties.type))
    if properties.app_id is not None:
        flags |= 1 << 3
        values.append(_kept_short(properties.app_id))
    return flags, b"".join(values)


def _short(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > 255:
        raise TooLarge(f"a text of {len(raw)} bytes where AMQP has room for 255")
    return _LENGTHS[len(raw)] + raw


_kept_short = lru_cache(maxsize=_KEPT)(_short)


def _table(table: Mapping[str, Any]) -> bytes:
    fields: list[bytes] = []
    for key, value in table.items():
        if type(value) is int and 0 <= value <= _SMALL:
            fields.append(_small_field(key, value))
        else:
            fields.append(_kept_short(key))
            fields.append(_field(value))
    raw = b"".join(fields)
    return _SIZE.pack(len(raw)) + raw


@lru_cache(maxsize=_KEPT)
def _small_field(key: str, value: int) -> bytes:
    return _kept_short(key) + _field(value)


def _field(value: object) -> bytes:
    if isinstance(value, int) and not isinstance(value, bool):
        fits = -(1 << 31) <= value < 1 << 31
        return _LONG.pack(b"I", value) if fits else _LONG_LONG.pack(b"l", value)
    if isinstance(value, str):
        raw = value.encode()
        return _TEXT_HEAD.pack(b"S", len(raw)) + raw
    if isinstance(value, dict):
        return b"F" + _table(value)
    if isinstance(value, list):
        raw = b"".join(map(_field, value))
        return _TEXT_HEAD.pack(b"A", len(raw)) + raw
    raise Unsendable(f"a header of type {type(value).__name__}")
