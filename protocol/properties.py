"""The AMQP side of a message as a value, so that everything above can be decided without pika."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from protocol.errors import ErrorCode, Malformed
from protocol.names import CONTENT_TYPE

#: What a field table may hold when we write one.
HeaderValue = int | str | list[Any] | dict[str, Any]


# Not frozen, like everything that is made for each message: a frozen one takes three times as long to make.
@dataclass(slots=True, kw_only=True)
class Properties:
    """Properties of a message that we publish. Always persistent (delivery mode 2)."""

    type: str | None = None
    message_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    timestamp: int | None = None
    expiration: str | None = None
    content_type: str = CONTENT_TYPE
    app_id: str | None = None
    headers: dict[str, HeaderValue] = field(default_factory=dict)


class ReceivedProperties(Protocol):
    """Properties of a message that we got. Any attribute may hold anything: read them by ``Reader``."""

    content_type: object
    content_encoding: object
    type: object
    message_id: object
    correlation_id: object
    reply_to: object
    timestamp: object
    headers: object


class Reader:
    """Typed look-ups in a table from outside. Every mismatch is a ``Malformed`` (``bad_properties``)."""

    def __init__(self, table: object, what: str) -> None:
        if table is None:
            table = {}
        if not isinstance(table, dict):
            raise bad(f"{what} must be a table")
        self._table: dict[object, object] = table
        self._what = what

    def __contains__(self, key: str) -> bool:
        return key in self._table

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        value = self._table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise bad(f"{self._what}.{key} must be an integer from {low} to {high}")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self._table.get(key, default)
        if not isinstance(value, str):
            raise bad(f"{self._what}.{key} must be a string")
        return value

    def array(self, key: str, longest: int) -> list[object]:
        value = self._table.get(key, [])
        if not isinstance(value, list) or len(value) > longest:
            raise bad(f"{self._what}.{key} must be an array of at most {longest}")
        return value


def optional_text(value: object, what: str) -> str | None:
    """A short string property, or None if it is absent (pika gives bytes where it was not UTF-8)."""
    if value is None or isinstance(value, str):
        return value or None
    raise bad(f"{what} must be UTF-8 text")


def bad(text: str) -> Malformed:
    return Malformed(ErrorCode.BAD_PROPERTIES, text)
