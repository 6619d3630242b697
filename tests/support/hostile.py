"""Properties that no honest client sends, encoded by hand, since pika will not."""

from __future__ import annotations

import base64
import os
import struct
from typing import Any

import pika
from pika import data

from protocol.names import DIRECT_REPLY_TO

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


def direct_address(
    node: bytes = b"reply@1234567890", *, pid: bytes | None = None, key: bytes | None = None
) -> str:
    """A direct reply address of exactly the structure that brokers make, of a node that does not exist."""
    pid = b"\x83\x58\x76" + struct.pack(">H", len(node)) + node + os.urandom(12) if pid is None else pid
    parts = (pid, os.urandom(16) if key is None else key)
    return ".".join([DIRECT_REPLY_TO, *(base64.b64encode(part).decode() for part in parts)])


def random_address() -> str:
    """Random base64 of the right lengths: a regular expression lets it pass, and 3.10 and 4.0 choke on it."""
    return direct_address(pid=os.urandom(33), key=os.urandom(16))
