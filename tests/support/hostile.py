"""Properties that no honest client sends, encoded by hand, since pika will not."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pika
from pika import data

from protocol.names import DIRECT_REPLY_TO

_PID = b"\x83\x58\x76\x00\x10reply@2147483647" + bytes(12)
_KEY = bytes(range(16))
#: A direct reply address as brokers make them, for code that only reads it.
ADDRESS = ".".join([DIRECT_REPLY_TO, *(base64.b64encode(part).decode() for part in (_PID, _KEY))])
#: The same without its end. Strangers can send worse: other bytes, over which a broker closed the connection
#: that answered. A worker refuses either for the same reason, so none of that is kept here.
CUT_ADDRESS = ADDRESS[:-1]
_MARK = {"mark": "the table that is replaced"}


class RawTable(pika.BasicProperties):  # type: ignore[misc]
    """Properties whose header table is ``table``, bytes as they go over the wire, without the length."""

    def __init__(self, table: bytes, **fields: Any) -> None:
        super().__init__(**{**fields, "headers": _MARK})
        self._table = struct.pack(">I", len(table)) + table

    def encode(self) -> list[bytes]:
        pieces: list[bytes] = []
        data.encode_table(pieces, _MARK)
        return [b"".join(super().encode()).replace(b"".join(pieces), self._table)]


def nested_tables(depth: int) -> bytes:
    """A table that holds a table that holds a table …"""
    table = b""
    for _ in range(depth):
        table = b"\x01tF" + struct.pack(">I", len(table)) + table
    return table


def header_timestamp(seconds: int) -> bytes:
    return b"\x01tT" + struct.pack(">Q", seconds)


def header_key(key: bytes) -> bytes:
    return bytes((len(key),)) + key + b"S\x00\x00\x00\x00"
