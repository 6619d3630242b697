"""Fields of AMQP frames to values: a cursor over bytes that notes where each field stands.

What is framed well and makes no sense raises ``Unreadable``. Depth and size are bounded by the frame itself.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

from broker.wire.grammar import BIT, LONGSTR, OCTET, SHORTSTR, TABLE

#: What a field may hold.
Value = None | bool | int | float | str | bytes | Decimal | datetime | list["Value"] | dict[str, "Value"]

_DEEPEST = 64
_NUMBERS = {"o": ">B", "h": ">H", "l": ">I", "q": ">Q"}
#: Types inside a table, as RabbitMQ writes and reads them (https://www.rabbitmq.com/amqp-0-9-1-errata).
_IN_TABLES = {b"b": ">b", b"B": ">B", b"s": ">h", b"u": ">H", b"I": ">i", b"i": ">I", b"l": ">q", b"L": ">Q"}
_FLOATS = {b"f": ">f", b"d": ">d"}


class Unreadable(ValueError):
    """Bytes that are no such field."""


class Cursor:
    """Reads fields one after another."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at
        self._bits_left = 0
        self._bits = 0

    def field(self, kind: str) -> Value:
        """The next field, of a type of ``grammar``."""
        if kind == BIT:
            if not self._bits_left:
                self._bits, self._bits_left = self.number(OCTET), 8
            bit, self._bits, self._bits_left = bool(self._bits & 1), self._bits >> 1, self._bits_left - 1
            return bit
        self._bits_left = 0
        if kind == SHORTSTR:
            return self._text(self.number(OCTET))
        if kind == LONGSTR:
            return self.take(self.number("l"))
        return self.table() if kind == TABLE else self.number(kind)

    def number(self, kind: str) -> int:
        return int(self._unpack(_NUMBERS[kind]))

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        end = self.at + size
        if end > len(self.data):
            raise Unreadable(f"a field of {size} bytes where {len(self.data) - self.at} are left")
        taken, self.at = self.data[self.at : end], end
        return taken

    def table(self, depth: int = 0) -> dict[str, Value]:
        """A field table: of a name that stands there twice the last value counts."""
        end = self._end(depth)
        found: dict[str, Value] = {}
        while self.at < end:
            name = self._text(self.number(OCTET))
            found[name] = self._typed(depth)
        self._require_end(end)
        return found

    def _typed(self, depth: int) -> Value:
        kind = self.take(1)
        if kind in _IN_TABLES:
            return int(self._unpack(_IN_TABLES[kind]))
        if kind in _FLOATS:
            return float(self._unpack(_FLOATS[kind]))
        reads: dict[bytes, Callable[[], Value]] = {
            b"S": lambda: _readable(self.take(self.number("l"))),
            b"x": lambda: self.take(self.number("l")),
            b"t": lambda: bool(self.number(OCTET)),
            b"T": self._time,
            b"D": self._decimal,
            b"A": lambda: self._array(depth + 1),
            b"F": lambda: self.table(depth + 1),
            b"V": lambda: None,
        }
        if kind not in reads:
            raise Unreadable(f"no field type {kind!r}")
        return reads[kind]()

    def _array(self, depth: int) -> list[Value]:
        end = self._end(depth)
        found: list[Value] = []
        while self.at < end:
            found.append(self._typed(depth))
        self._require_end(end)
        return found

    def _decimal(self) -> Decimal:
        scale = self.number(OCTET)
        return Decimal(int(self._unpack(">i"))).scaleb(-scale)

    def _time(self) -> Value:
        seconds = self.number("q")
        try:
            return datetime.fromtimestamp(seconds, UTC)
        except (OverflowError, OSError, ValueError):
            # Beyond what a date can hold.
            return seconds

    def _end(self, depth: int) -> int:
        if depth > _DEEPEST:
            raise Unreadable(f"nested deeper than {_DEEPEST}")
        size = self.number("l")
        if self.at + size > len(self.data):
            raise Unreadable(f"a table of {size} bytes where {len(self.data) - self.at} are left")
        return self.at + size

    def _require_end(self, end: int) -> None:
        if self.at != end:
            raise Unreadable("a table that does not end where it says")

    def _text(self, size: int) -> str:
        return self.take(size).decode("utf-8", "backslashreplace")

    def _unpack(self, layout: str) -> int | float:
        raw = self.take(struct.calcsize(layout))
        value: int | float = struct.unpack(layout, raw)[0]
        return value


def _readable(raw: bytes) -> str | bytes:
    """Text, if it is UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw
